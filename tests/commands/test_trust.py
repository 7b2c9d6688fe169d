"""Nothing is imported for a run folder but our own components and what the command names again."""

import json
import sys

import pytest
from run_folders import write_run
from variants import mostly_slow

from splitmix.commands import main
from splitmix.commands.trust import trusted_targets
from splitmix.config_hash import config_hash
from splitmix.runs.folders import read_config

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from splitmix.federation.budgets import Groups
Path({marker!r}).touch()
@dataclass(frozen=True)
class Mine(Groups):
    pass
"""
TARGET = "someones.budgets.Mine"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run whose budget is a class outside of the package; importing even its parent leaves a mark."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "modules" / "someones"
    package.mkdir(parents=True)
    for name in ("__init__", "budgets"):
        (package / f"{name}.py").write_text(MODULE.format(marker=str(tmp_path / "imported")))
    monkeypatch.syspath_prepend(package.parent)
    folder = write_run(tmp_path / "run", [], {1.0: 0.5})
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    name_target(folder, TARGET)
    yield folder
    for module in [name for name in sys.modules if name.partition(".")[0] == "someones"]:
        del sys.modules[module]


def name_target(folder, target):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("splitmix.federation.budgets.Groups", target))
    results = json.loads((folder / "results.json").read_text())
    results["config_hash"] = config_hash(read_config(folder))
    (folder / "results.json").write_text(json.dumps(results))


VERBS = {"show": "run=run", "report": "runs=run out=null report=table1", "train": "resume=run", "test": "run=run"}


@pytest.mark.parametrize(("verb", "words"), VERBS.items(), ids=VERBS)
def test_a_run_folder_has_nothing_imported(run, tmp_path, capfd, verb, words):
    (run / "checkpoints" / "best.ckpt").touch()
    # What a run folder says of itself counts for nothing.
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("trust: []", f"trust: [{TARGET}]"))
    assert main([verb, *words.split()]) == 2
    [line] = capfd.readouterr().err.strip().splitlines()
    assert f"budget._target_={TARGET}" in line and f"trust=[{TARGET}]" in line and "--config-dir" in line
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    "target",
    ["splitmix.__main__.main", "splitmix.test_settings.TestSettings", "splitmix.models.digit_cnn.DigitCNN", "this.s"],
)
def test_another_module_of_ours_or_another_groups_component_is_refused(run, capfd, target):
    name_target(run, target)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(TARGET, target))
    assert main(["show", "run=run"]) == 2
    assert f"budget._target_={target}: a run folder may name any code" in capfd.readouterr().err
    assert "this" not in sys.modules


@pytest.mark.parametrize("verb", mostly_slow(["show", "report", "train"], 3))
def test_the_command_names_it_again_by_key(run, tmp_path, verb):
    assert main([verb, *VERBS[verb].split(), f"trust=[{TARGET}]"]) == 0
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize("verb", mostly_slow(["show", "report", "train"], 3))
def test_the_command_names_it_again_by_an_option_file(run, tmp_path, verb):
    (tmp_path / "conf" / "budget").mkdir(parents=True)
    (tmp_path / "conf" / "budget" / "mine.yaml").write_text(f"# Mine.\n_target_: {TARGET}\nwidths: '8'\n")
    assert main([verb, "--config-dir", "conf", *VERBS[verb].split()]) == 0
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize("verb", ["show", "report"])
def test_the_search_path_names_it_again_too(run, tmp_path, verb):
    (tmp_path / "conf" / "budget").mkdir(parents=True)
    (tmp_path / "conf" / "budget" / "mine.yaml").write_text(f"# Mine.\n_target_: {TARGET}\nwidths: '8'\n")
    assert main([verb, "hydra.searchpath=[file://conf]", *VERBS[verb].split()]) == 0
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize("verb", ["show", "report"])
def test_the_code_of_an_option_file_is_found_beside_its_folder(run, tmp_path, monkeypatch, verb):
    """`--config-dir` says where it lies, as for training; PYTHONPATH need not."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path / "modules")])
    (tmp_path / "modules" / "conf" / "budget").mkdir(parents=True)
    option = tmp_path / "modules" / "conf" / "budget" / "mine.yaml"
    option.write_text(f"# Mine.\n_target_: {TARGET}\nwidths: '8'\n")
    assert main([verb, "--config-dir", "modules/conf", *VERBS[verb].split()]) == 0
    assert (tmp_path / "imported").exists()


def test_a_run_below_the_config_dir_names_nothing(run, tmp_path, capfd):
    (tmp_path / "mine").mkdir()
    run.rename(tmp_path / "mine" / "1")
    assert main(["show", "--config-dir", "mine", "run=mine/1"]) == 2
    assert "may name any code" in capfd.readouterr().err and not (tmp_path / "imported").exists()


def test_a_job_that_goes_on_trusts_what_its_command_composed():
    composed = {"seed": 1, "budget": {"_target_": TARGET}}
    assert TARGET in trusted_targets(composed=composed)["budget"] and TARGET not in trusted_targets()["budget"]


def test_experiments_of_the_user_name_targets_by_group(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "a.yaml").write_text(json.dumps({"model": {"_target_": "a.B"}}))
    (tmp_path / "experiment" / "damaged.yaml").write_text("[")
    trusted = trusted_targets(config_dirs=[tmp_path])
    assert "a.B" in trusted["model"] and "a.B" not in trusted["budget"]


def test_trust_is_no_part_of_a_run(tmp_path, monkeypatch, capfd):
    assert main(["show", "run=x", "trust={a: 1}"]) == 2
    assert "trust=" in capfd.readouterr().err
