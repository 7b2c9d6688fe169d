"""The wheel: carries conf/, runs from elsewhere, and takes options from a user's own --config-dir."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_trains_elsewhere_with_a_users_own_option(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    assert {"splitmix/conf/train.yaml", "splitmix/py.typed"} <= set(zipfile.ZipFile(wheel).namelist())
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    option = tmp_path / "mine" / "budget" / "tiny.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("# Mine.\n_target_: splitmix.federation.budgets.Groups\nwidths: '8-4'\n")
    command = [sys.executable, "-m", "splitmix", "train", "--config-dir", str(tmp_path / "mine")]
    where = "import splitmix; print(splitmix.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert str(site) in found.stdout
    words = [*command, "debug=quick", "rounds=1", "budget=tiny"]
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "×0.25" in run.stdout and "×0.375" not in run.stdout
