"""Runs of methods of depths, and of nested sub-models, go through every verb that reads runs."""

import json
from pathlib import Path

import pytest

from splitmix.commands import main

SMALL = ["debug=quick", "budget.widths=8-2", "train_fraction=0.03", "test.max_images=60", "engine.workers=1",
         "engine.threads=1"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["depthfl", "inclusivefl", "scalefl"])
def test_a_run_is_tested_shown_reported_and_exported(algorithm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, f"algorithm={algorithm}", "name=run"]) == 0
    [run] = Path("outputs/run").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert set(results["widths"]) == {"0.125", "0.5"}
    assert f"algorithm={algorithm}: of 4 exits, budgets hold the first (0.125: 1, 0.5: 2)" in capsys.readouterr().out
    for words in (
        ["test", f"run={run}", "test.widths=[0.125,0.25]", "test.max_images=60", "test.bn=static"],
        ["show", f"run={run}"],
        ["report", f"runs={run}", "out=report"],
        ["profile", f"algorithm={algorithm}", "repeats=1"],
        ["export", f"run={run}", "format=torch_export", "width=0.5", "out=model.pt2", "max_images=60"],
    ):
        assert main(words) == 0, words
    assert Path("model.pt2").is_file() and Path("report/report.html").is_file()
    capsys.readouterr()
    assert main(["export", f"run={run}", "out=bundle"]) == 2
    assert "has one network per width" in capsys.readouterr().err and not Path("bundle").exists()
    assert main(["audit", f"run={run}", "clients=0-0"]) == 2
    assert f"run: algorithm={algorithm} trains several exits" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_unequal_base_models_is_tested_shown_reported_and_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    widths = "algorithm.base_widths=[0.125,0.125,0.25]"
    assert main(["train", *SMALL, widths, "budget.redraw=round", "name=run"]) == 0
    [run] = Path("outputs/run").iterdir()
    assert set(json.loads((run / "results.json").read_text())["widths"]) == {"0.125", "0.25", "0.5"}
    for words in (
        ["test", f"run={run}", "test.widths=[0.125,0.5]", "test.max_images=60", "test.bn=static"],
        ["show", f"run={run}"],
        ["report", f"runs={run}", "out=report"],
        ["profile", widths, "budget.widths=8-2", "repeats=1"],
        ["export", f"run={run}", "format=torch_export", "width=0.25", "out=model.pt2", "max_images=60"],
    ):
        assert main(words) == 0, words
    assert Path("model.pt2").is_file() and Path("report/report.html").is_file()
    this = "algorithm=splitmix with algorithm.base_widths=[0.125,0.125,0.25]"
    for words, message in {
        ("test", f"run={run}", "test.widths=0.375"): "width 0.375: of algorithm.base_widths=",
        ("test", f"run={run}", "test.mix=median"): f"test.mix=median: {this} has no base models of one width",
        ("test", f"run={run}", "test.sort_base_models=true"): f"test.sort_base_models=true: {this} has no base models",
        ("test", f"run={run}", "test.anytime=true"): f"test.anytime=true: {this} has no base models of one width",
        ("export", f"run={run}", "out=bundle"): f"base models of one width, and {this} has one network per width",
        ("audit", f"run={run}", "clients=0-0"): f"run: {this} trains several exits or base models in one network",
        ("train", *SMALL, widths, "aggregation=median"): f"aggregation=median: {this} does not average",
        (
            "train",
            *SMALL,
            widths,
            "privacy=dp_fedavg",
            "privacy.noise_multiplier=1",
        ): f"privacy=dp_fedavg: {this} uploads or merges other",
        ("train", *SMALL, widths, "malicious=label_flip", "malicious.base_models=[0]"): f"{this} has no base models",
        ("probe", widths, "budget.widths=8-4-2"): f"{this} gives a budget base models of different cost",
    }.items():
        capsys.readouterr()
        assert main([*words]) == 2, words
        assert message in capsys.readouterr().err, words
    assert not Path("bundle").exists()


@pytest.mark.slow
def test_a_run_of_nested_sub_models_is_tested_shown_and_audited(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vit = ["model=vit", "model.patch=7", "model.head_size=2", "model.blocks=2"]
    assert main(["train", *SMALL, "algorithm=nefl", *vit, "name=run"]) == 0
    [run] = Path("outputs/run").iterdir()
    assert set(json.loads((run / "results.json").read_text())["widths"]) == {"0.125", "0.5"}
    assert "algorithm=nefl: sub-models of the budgets (0.125: width" in capsys.readouterr().out
    for words in (
        ["test", f"run={run}", "test.widths=[0.125,0.5]", "test.max_images=60"],
        ["show", f"run={run}"],
        ["export", f"run={run}", "format=torch_export", "width=0.125", "out=model.pt2", "max_images=60"],
        ["audit", f"run={run}", "clients=0-0", "audit.threats=image", "audit.images=1"],
    ):
        assert main(words) == 0, words
    capsys.readouterr()
    assert main(["test", f"run={run}", "test.widths=0.25"]) == 2
    assert "algorithm=nefl has norms and step sizes for the budgets of clients alone" in capsys.readouterr().err
