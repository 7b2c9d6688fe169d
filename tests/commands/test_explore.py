"""`splitmix explore`: mistakes in one line, before anything is served."""

import socket
import sys

import pytest
from run_folders import write_run

from splitmix.commands import main
from splitmix.errors import UserError
from splitmix.explore.serve import LOCAL_HOSTS, POLICY, listening, url_of


@pytest.fixture
def run(tmp_path):
    """A run folder without checkpoints."""
    return write_run(tmp_path / "run", [], {0.5: 0.6, 1.0: 0.7})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["port=70000"], "port=70000: give a number from 0"),
        (["host="], "host= is empty"),
        (["run=nowhere"], "run=nowhere: not a run folder"),
        (["prot=1"], "unknown key prot"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys, monkeypatch):
    monkeypatch.setattr("splitmix.explore.serve.require_gradio", lambda: None)
    assert main(["explore", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_without_gradio_the_extra_is_named(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["explore", f"run={run}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "splitmix explore needs gradio" in line and "pip install 'splitmix[explore]'" in line


def test_a_free_port_is_taken_and_one_in_use_is_refused():
    with listening("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert url_of(bound, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(
            UserError, match=rf"port={port}: 127\.0\.0\.1 cannot be served there .* port=0 takes a free"
        ):
            listening("127.0.0.1", port)
    with pytest.raises(UserError, match=r"host=no\.such\.host\.invalid: no such address"):
        listening("no.such.host.invalid", 0)


def test_the_browser_may_ask_this_server_alone():
    directives = [directive.split() for directive in POLICY.split(";")]
    sources = {word for _, *words in directives for word in words}
    assert directives[0][0] == "default-src"
    assert sources == {"'self'", "data:", "blob:", "'unsafe-inline'", "'unsafe-eval'", "'wasm-unsafe-eval'"}
    assert "0.0.0.0" not in LOCAL_HOSTS
