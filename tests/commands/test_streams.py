"""Standard streams that are closed, full or given up by their reader."""

import os
import subprocess
import sys

import pytest

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")


def run(tmp_path, words, redirection):
    """Exit code and standard error of a command of the shell."""
    line = f'"{sys.executable}" -m splitmix {words} {redirection}'
    ended = subprocess.run(["bash", "-c", line], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return ended.returncode, ended.stderr


@FULL
@pytest.mark.parametrize(("words", "unbuffered"), [("--help", ""), ("list", ""), ("data-list", "1")])
@pytest.mark.slow
def test_output_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, words, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    code, errors = run(tmp_path, words, ">/dev/full")
    assert code == 2 and errors.startswith("splitmix: standard output cannot be written (No space left on device)")
    assert len(errors.splitlines()) == 1


@FULL
@pytest.mark.parametrize("words", ["nope", "list what=nope"])
def test_a_mistake_that_cannot_be_told_keeps_its_exit_code(tmp_path, words):
    assert run(tmp_path, words, "2>/dev/full") == (2, "")


@pytest.mark.parametrize("words", ["--help", "data-list"])
@pytest.mark.slow
def test_a_reader_that_has_had_enough_ends_the_command_quietly(tmp_path, words):
    assert run(tmp_path, words, "| true; exit ${PIPESTATUS[0]}") in [(141, ""), (0, "")]


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    code = "from splitmix.commands.streams import open_streams; open_streams(); import os, sys;"
    code += "print('x'); print('y', file=sys.stderr); open('file', 'w').write(str(os.open('other', 65)))"
    subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{code}" <&- >&- 2>&-'], cwd=tmp_path, check=True)
    assert int((tmp_path / "file").read_text()) > 2


def test_an_encoding_that_lacks_a_character_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert run(tmp_path, "--help", ">help.txt") == (0, "")
    assert "key=value \\u2026" in (tmp_path / "help.txt").read_text()
