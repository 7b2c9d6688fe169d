"""Locks hold between processes and end with the process that holds them."""

import subprocess
import sys

import pytest

from splitmix.locks import Busy, is_locked, locked

HOLD = """
import os, sys
from pathlib import Path
from splitmix.locks import locked
with locked(Path(sys.argv[1]), 0):
    child = os.fork()
    if child == 0:  # a worker that outlives its parent
        sys.stdin.read()
        os._exit(0)
    print("held", flush=True)
    os.waitpid(child, 0)
"""


def test_a_lock_ends_with_its_process_though_a_worker_lives_on(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path) and not path.exists()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    assert is_locked(path)
    with pytest.raises(Busy), locked(path, 0.05):
        pass
    other.kill()
    other.wait()
    assert not is_locked(path)
    with locked(path, 0.05):
        pass
    other.stdin.close()


def test_looking_does_not_end_what_this_process_holds(tmp_path):
    path = tmp_path / "lock"
    with locked(path, 0):
        assert is_locked(path)
        with pytest.raises(Busy), locked(path, 0):
            pass
        look = "import sys; from pathlib import Path; from splitmix.locks import is_locked\n"
        look += "sys.exit(is_locked(Path(sys.argv[1])))"
        assert subprocess.run([sys.executable, "-c", look, str(path)]).returncode == 1
    assert not is_locked(path)
