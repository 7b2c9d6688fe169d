"""Trackers beside metrics.csv: the same names, missing packages, resume, and failures that stop no training."""

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from splitmix.errors import UserError
from splitmix.runs.loggers import MLflow, TensorBoard, TrackedRun, Tracker, WandB
from splitmix.runs.metrics import CSV


@pytest.mark.parametrize("option", [TensorBoard, WandB, MLflow])
def test_a_missing_package_is_told_with_its_extra(option, monkeypatch):
    monkeypatch.setitem(sys.modules, option.name, None)
    with pytest.raises(UserError, match=rf"logger={option.name}: .* pip install 'splitmix\[{option.name}\]'"):
        option().check()


def test_csv_needs_no_tracker(tmp_path):
    CSV().check()
    assert CSV().trackers(TrackedRun(tmp_path, {})) == []


def events(folder):
    """(step, value) by metric of all event files together."""
    read = EventAccumulator(str(folder), purge_orphaned_data=True)
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_holds_the_same_names_and_a_resumed_run_replaces_lost_rounds(tmp_path):
    [first] = TensorBoard().trackers(TrackedRun(tmp_path, {}))
    for step in range(4):
        first.log_metrics({"val_sa/0.125": step / 8, "val_sa_client/0-0": 0.5}, step)
    first.finalize("failed")
    [again] = TensorBoard().trackers(TrackedRun(tmp_path, {}, round=2))
    again.log_metrics({"val_sa/0.125": 1.0, "val_sa_client/0-0": 0.5}, 2)
    again.finalize("success")
    found = events(tmp_path / "tensorboard")
    assert set(found) == {"val_sa/0.125", "val_sa_client/0-0"}
    assert found["val_sa/0.125"] == [(0, 0.0), (1, 0.125), (2, 1.0)]


def test_a_runs_identity_is_kept_for_a_run_that_goes_on_only(tmp_path):
    TrackedRun(tmp_path, {}).keep_identity("mlflow", "abc")
    assert TrackedRun(tmp_path, {}, round=3).identity("mlflow") == "abc"
    assert TrackedRun(tmp_path, {}, round=3).identity("wandb") is None
    assert TrackedRun(tmp_path, {}, round=0).identity("mlflow") is None
    (tmp_path / "tracker.json").write_text("[broken")
    assert TrackedRun(tmp_path, {}, round=3).identity("mlflow") is None


class Dying:
    """A tracker whose server goes away after the first round."""

    def __init__(self):
        self.logged = []

    def log_metrics(self, metrics, step):
        self.logged.append(step)
        if step == 1:
            raise ConnectionError("the server\nis gone")

    def save(self):
        pass


def test_a_tracker_that_fails_stops_no_training_and_says_so_once(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("splitmix.runs.loggers.log.warning", told.append)
    dying = Dying()
    tracker = Tracker("mlflow", lambda: dying, "mend")
    for step in range(4):
        tracker.log_metrics({"loss": 1.0}, step)
    tracker.finalize("success")
    assert dying.logged == [0, 1]
    assert told == ["logger=mlflow: the server is gone; the run goes on without it, metrics.csv has everything"]


def test_a_tracker_that_cannot_begin_is_the_users_to_mend():
    def start():
        raise RuntimeError("no key\nfound")

    with pytest.raises(UserError, match=r"logger=wandb: no key found \(log in\)"):
        Tracker("wandb", start, "log in")
