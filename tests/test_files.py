"""Where things are kept."""

from pathlib import Path

from splitmix.files import cache_folder


def test_cache_folder_follows_root_then_the_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("SPLITMIX_CACHE", "/s")
    assert cache_folder("~/r") == Path("/h/r")
    assert cache_folder() == Path("/s")
    monkeypatch.delenv("SPLITMIX_CACHE")
    assert cache_folder() == Path("/x/splitmix")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/h/.cache/splitmix")
