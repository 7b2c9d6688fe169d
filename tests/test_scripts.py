"""scripts/: a script for each verb, which runs like the verb."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitmix.commands import VERBS

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_every_verb_has_its_script():
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(VERBS)
    for verb in VERBS:
        assert f'main(["{verb}", *sys.argv[1:]])' in (SCRIPTS / f"{verb}.py").read_text()


@pytest.mark.slow
def test_a_script_that_imports_pytorch_does_not_meet_another_script(tmp_path):
    """PyTorch imports Python's own `profile`, which scripts/profile.py must not hide."""
    command = [sys.executable, str(SCRIPTS / "profile.py"), "repeats=2", "widths=0.125"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "×0.125" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("drill", ["loopback", "hosts", "probe"])
def test_a_drill_can_be_started(drill):
    """The drills themselves take many minutes: docs/checked.md says what they saw."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "drills" / f"{drill}.py"), "--help"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent)},
    )  # fmt: skip
    assert done.returncode == 0 and "--folder" in done.stdout, done.stderr
