"""scripts/: a script for each verb, which runs like the verb."""

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
