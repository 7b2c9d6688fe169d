"""A run's folder: what others write there meanwhile is kept, and a resumed run says that it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from run_folders import config_of, record

from splitmix.config import load_run_config
from splitmix.runs.checkpoint import save_checkpoint
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results import add_tests, update_results
from splitmix.runs.results_file import read_results
from splitmix.runs.training import Training, run_training

TINY = ("debug=quick", "algorithm=fedavg", "algorithm.width=0.125", "clients_per_domain=1", "engine.workers=1")


@pytest.fixture
def begun(tmp_path):
    """Makes the run of a folder: begun, or gone on with."""

    def make(resume: bool, said: frozenset[str] = frozenset(), *overrides: str) -> Training:
        resolved = config_of((*TINY, *overrides))
        return Training(load_run_config(resolved), tmp_path, resolved, "2026-01-01", resume, said)

    return make


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_test_made_while_the_run_trains_is_kept(begun, tmp_path):
    run = begun(False)
    clients = len(run.federation.clients)
    tested, final = (
        record(0.125, accuracy, bn=bn, per_client=[accuracy] * clients)
        for accuracy, bn in ((0.5, "post"), (0.75, "trained"))
    )
    update_results(tmp_path / "results.json", lambda content: add_tests(content, [tested]))
    run.mark("finished", {"0.125": {"sa": 0.75, "macs": 1, "params": 1}}, [final])
    assert results(tmp_path)["tests"] == [tested, final] and results(tmp_path)["status"] == "finished"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError()])
def test_a_run_that_stops_says_so_and_one_that_goes_on_runs(begun, tmp_path, monkeypatch, error):
    def rounds(run):
        assert results(tmp_path)["status"] == "running"
        raise error

    monkeypatch.setattr(Training, "rounds", rounds)
    resolved = config_of(TINY)
    for resume in (False, True):
        with pytest.raises(type(error)):
            run_training(load_run_config(resolved), tmp_path, resolved, resume)
        assert results(tmp_path)["status"] == ("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")


@pytest.mark.slow  # seconds of accounting
@pytest.mark.skipif(find_spec("dp_accounting") is None, reason="needs splitmix[privacy]")
def test_a_private_run_records_what_it_guarantees_so_far_and_a_resumed_one_the_same_numbers(begun, tmp_path):
    private = ("privacy=dp_fedavg", "privacy.noise_multiplier=0.5", "clients_per_round=2")
    run = begun(False, frozenset(), *private)
    assert results(tmp_path)["privacy"]["epsilon"] == 0
    run.one_round()
    run.mark("interrupted")
    first = results(tmp_path)["privacy"]
    straight, _ = run.federation.run_round(run.last.state)
    again = begun(True, frozenset(), *private)
    again.one_round()
    again.mark("interrupted")
    second = results(tmp_path)["privacy"]
    assert [row["epsilon"] for row in read_metrics(tmp_path / "metrics.csv")] == [first["epsilon"], second["epsilon"]]
    assert 0 < first["epsilon"] < second["epsilon"] and second["noise_multiplier"] == 0.5
    assert (second["relation"], second["accountant"], second["delta"]) == ("replace-one", "RDP", 1e-5)
    read_results(tmp_path / "results.json")
    assert all(torch.equal(value, straight.tensors[name]) for name, value in again.last.state.tensors.items())


def test_what_the_user_says_wins_over_what_the_run_had_chosen(begun, tmp_path):
    chosen = {"cpu workers": 1, "cpu a network": 7}
    save_checkpoint(tmp_path / "checkpoints" / "last.ckpt", replace(begun(False).last, engine=chosen))
    assert begun(True).federation.engine.tuned == {"workers": 1, "a network": 7}
    run = begun(True, frozenset({"lanes"}), "engine.lanes=1")
    assert run.federation.engine.tuned == {"workers": 1}
    assert begun(True, frozenset({"workers"})).federation.engine.tuned == {"a network": 7}
