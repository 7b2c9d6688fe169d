"""`splitmix test` with transfer, sanity and robust=full, and the reports of it; mistakes in one line."""

import json
from pathlib import Path

import pytest

from splitmix.commands import main
from splitmix.engine.engine import Engine
from splitmix.robustness.attacks import FGSM, LinfPGD
from splitmix.robustness.autoattack import AutoAttack
from splitmix.runs import sanity

SMALL = ["debug=quick", "budget.widths=8-4", "rounds=1", "train_fraction=0.03", "test.max_images=20",
         "clients_per_domain=1", "engine.workers=1", "engine.threads=1"]  # fmt: skip
DAT = ["algorithm.adv_lambda=0.5", "model.bn=tracked", "train_attack=fgsm_rs", "algorithm.rescale_init=false",
       "algorithm.rescale_layer=false"]  # fmt: skip


@pytest.mark.slow
def test_a_run_is_tested_and_reported_robustly(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sanity, "find_spec", lambda name: None)
    assert main(["train", *SMALL, *DAT, "name=run"]) == 0
    [run] = Path("outputs/run").iterdir()
    test = ["test", f"run={run}", "engine.workers=1", "engine.threads=1"]
    attacks = ["attack=[none,linf_pgd20]", "attack.linf_pgd20.steps=2", "test.max_images=20"]
    assert main([*test, *attacks, "test.adv_lambdas=[0,1]", "test.transfer=true"]) == 0
    assert main([*test, *attacks, "test.adv_lambdas=1", "test.sanity=true"]) == 0
    said = capfd.readouterr().out
    assert "transfer of linf_pgd20: images" in said and "each predicted by all of them" in said
    assert "sanity of linf_pgd20, λ 1: " in said and "restarts do not help much" in said
    tests = json.loads((run / "results.json").read_text())["tests"]
    attacked = [record for record in tests if record["attack"]["name"] == "linf_pgd20"]
    # At λ 1 it was tested again, without transfer: what was measured before stays.
    places = [(0.125, 0), (0.25, 0), (0.125, 1), (0.25, 1)]
    assert [(record["width"], record["adv_lambda"]) for record in attacked] == places
    for number, record in enumerate(attacked):
        found = record["transfer"]
        assert list(zip(found["widths"], found["adv_lambdas"], strict=True)) == places
        assert found["accuracy"][number] == pytest.approx(record["accuracy"])
        assert found["worst"] <= min(found["accuracy"])
        assert ("sanity" in record) is (record["adv_lambda"] == 1)
    last = attacked[-1]
    assert [last["sanity"][key][0] for key in ("accuracy", "loss")] == [last["accuracy"], last["loss"]]
    monkeypatch.setattr(AutoAttack, "attacked", lambda self, *arguments: LinfPGD(steps=1).attacked(*arguments))
    assert main([*test, "test.robust=full", "test.widths=0.125", "test.adv_lambdas=1"]) == 0
    assert "interval" in capfd.readouterr().out
    full = [record for record in json.loads((run / "results.json").read_text())["tests"] if "low" in record]
    assert [record["attack"]["name"] for record in full] == ["none", "autoattack"]
    for record in full:
        assert record["low"] <= record["accuracy"] <= record["high"] and record["n_images"] > 1000
    for kind in ("transfer", "sanity"):
        assert main(["report", f"runs={run}", "out=report", f"report={kind}"]) == 0
    assert {path.name for path in Path("report").iterdir()} >= {"transfer.csv", "transfer.pdf", "sanity.md"}
    assert main(["show", f"run={run}"]) == 0


@pytest.mark.slow
def test_a_long_test_that_is_stopped_goes_on(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "algorithm=fedavg", "algorithm.width=0.125", "model.bn=tracked", "name=run"]) == 0
    [run] = Path("outputs/run").iterdir()
    words = ["test", f"run={run}", "engine.workers=1", "engine.threads=1", "attack=[fgsm]"]
    assert main([*words, "test.max_images=350"]) == 0
    monkeypatch.setattr(FGSM, "slow", True)
    evaluate, times = Engine.evaluate, []

    def stopping(*given):
        times.append(1)
        if len(times) == 3:
            raise KeyboardInterrupt
        return evaluate(*given)

    monkeypatch.setattr(Engine, "evaluate", stopping)
    assert main([*words, "test.max_images=400"]) == 130
    [file] = run.glob(".unfinished-test-*.json")
    assert len(json.loads(file.read_text())["parts"]) == 2
    capfd.readouterr()
    # Another question neither uses nor loses it.
    assert main([*words, "test.max_images=450"]) == 0
    assert "known from" not in capfd.readouterr().out and [*run.glob(".unfinished-test-*.json")] == [file]
    assert main([*words, "test.max_images=400"]) == 0
    assert "2 of 5 clients are known from a test that was stopped" in capfd.readouterr().out
    assert not [*run.glob(".unfinished-test-*.json")]
    monkeypatch.setattr(FGSM, "slow", False)
    tests = json.loads((run / "results.json").read_text())["tests"]
    by_images = {record["n_images"]: record["per_client"] for record in tests if record["attack"]["name"] == "fgsm"}
    assert main([*words, "test.max_images=400"]) == 0
    again = json.loads((run / "results.json").read_text())["tests"][-1]
    assert again["per_client"] == by_images[again["n_images"]] and len(by_images) == 3


@pytest.mark.slow
def test_a_run_whose_predictions_depend_on_the_batch_is_refused(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "name=run"]) == 0
    for words in (["test.robust=full"], ["test.sanity=true", "attack=[linf_pgd]"]):
        assert main(["test", "run=outputs/run", "engine.workers=1", *words]) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert "depend on their batch; fix the statistics with test.bn=static or post" in line and words[0] in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["test.transfer=true"], "test.transfer=true: there is nothing to transfer; name an attack"),
        (["test.sanity=true", "attack=[fgsm]"], "test.sanity=true: checks attacks that take gradient steps"),
        (["test.robust=half"], "test.robust=half: choose full or null"),
        (["test.robust=full", "test.max_images=9"], "test.robust=full: is on all test images, and test.max_images=9"),
        (["test.robust=full", "test.images=validation"], "test.robust=full: is on all test images, and test.images="),
        (["test.images=train"], "test.images=train: choose test or validation"),
        (["attack=[linf_pgd_stop]", "attack.linf_pgd_stop.steps=0"], "attack.linf_pgd_stop.steps=0: give at least 1"),
    ],
)
def test_mistakes_are_one_line(words, told, capsys):
    assert main(["test", "run=nowhere", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_training_ends_with_a_test_on_test_images(capsys):
    assert main(["train", "test.images=validation"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "test.images=validation: the test at the end of training is on test images" in line


@pytest.mark.parametrize("key", ["transfer=true", "sanity=true", "robust=full"])
def test_a_training_ends_without_attacks(key, capsys):
    assert main(["train", f"test.{key}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"test.{key}: the test at the end of training attacks nothing" in line
