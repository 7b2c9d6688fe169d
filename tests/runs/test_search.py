"""The search for run folders is bounded and follows no link."""

from pathlib import Path

import pytest

from splitmix.errors import UserError
from splitmix.runs import search
from splitmix.runs.search import find_files


def make(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "results.json").touch()


def found(root, pattern, monkeypatch):
    monkeypatch.chdir(root)
    return [str(file.parent) for file in find_files("run", pattern, Path(pattern), "results.json")]


def test_folders_patterns_and_stars(tmp_path, monkeypatch):
    make(tmp_path, "out/a1", "out/a2", "out/deep/a3", "out/b[1]", "out/.hidden/a4", "out/a1/checkpoints/a5")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "out" / "deep")
    (tmp_path / "out" / "loop").symlink_to(tmp_path / "out")
    assert found(tmp_path, "out", monkeypatch) == ["out/a1", "out/a2", "out/b[1]", "out/deep/a3"]
    assert found(tmp_path, "out/a*", monkeypatch) == ["out/a1", "out/a2"]
    assert found(tmp_path, "o*/**/a3", monkeypatch) == ["out/deep/a3"]
    assert found(tmp_path, "out/a[13]", monkeypatch) == ["out/a1"]
    assert found(tmp_path, "out/b[1]", monkeypatch) == ["out/b[1]"]
    assert found(tmp_path, f"{tmp_path}/out/*/a*", monkeypatch) == [f"{tmp_path}/out/deep/a3"]
    assert found(tmp_path, "nowhere/*", monkeypatch) == found(tmp_path, "x" * 300, monkeypatch) == []


@pytest.mark.parametrize("pattern", ["/", "/*", "/**", "/**/x", "..", "../**", "../../*", "."])
def test_no_search_begins_at_the_root_or_above_the_home_folder(pattern, tmp_path, monkeypatch):
    home = tmp_path / "home" / "me"
    (home / "outputs").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(UserError, match=r"would search all of /.*; name a folder nearer to the runs"):
        found(home, pattern, monkeypatch)
    assert found(home, "outputs", monkeypatch) == found(home, "out*/**", monkeypatch) == []


def test_a_pattern_that_is_none_is_a_mistake(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"run=a\*\*b: no valid pattern"):
        found(tmp_path, "a**b", monkeypatch)


def test_a_search_that_is_too_wide_says_so(tmp_path, monkeypatch):
    make(tmp_path, *(f"out/{number}" for number in range(10)))
    monkeypatch.setattr(search, "MOST_FOLDERS", 8)
    with pytest.raises(UserError, match="run=out: more than 8 folders to search"):
        found(tmp_path, "out", monkeypatch)
