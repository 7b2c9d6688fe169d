"""wandb and MLflow begun for real: offline, and into a SQLite file. CI needs `pip install -e .[dev,wandb,mlflow]`."""

import json
import sys

import pytest
from run_folders import config_of

from splitmix.commands import main
from splitmix.runs.loggers import MLflow, TrackedRun, WandB

pytestmark = pytest.mark.slow
QUICK = ["debug=quick", "algorithm=fedavg", "algorithm.width=0.125", "clients_per_domain=1", "engine.workers=1"]


def log_rounds(option, folder, config, rounds):
    """What a training, begun or gone on with, tells its tracker."""
    [tracker] = option.trackers(TrackedRun(folder, config, round=rounds.start))
    for step in rounds:
        tracker.log_metrics({"val_sa/0.125": step / 8, "val_sa_client/0-0": 0.5}, step)
    tracker.finalize("success")
    assert tracker.logger is not None, "one that failed is dropped"


def test_wandb_offline_keeps_every_round_and_the_config_and_goes_on_with_its_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="pip install 'splitmix[wandb]'")
    monkeypatch.setenv("WANDB_SILENT", "true")
    option, config = WandB(offline=True), config_of(("name=tracked", "seed=7"))
    option.check()
    identities = []
    for rounds in (range(2), range(2, 3)):
        log_rounds(option, tmp_path / "run", config, rounds)
        assert wandb.run is None, "the next run of the process begins a new one"
        identities.append(json.loads((tmp_path / "run" / "tracker.json").read_text())["wandb"])
    assert identities[0] == identities[1]
    wandb.teardown()  # as at the end of a process: its service writes what is left
    files = sorted((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2 and all(identities[0] in file.name for file in files)
    first, second = (file.read_bytes() for file in files)
    for word in (b"val_sa/0.125", b"val_sa_client/0-0"):
        assert word in first and word in second
    assert b"tracked" in first and b"adv_lambda" in first


def test_mlflow_keeps_every_round_and_the_config_and_goes_on_with_its_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install 'splitmix[mlflow]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    option = MLflow(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    option.check()
    config = config_of(("name=tracked", "seed=7"))
    for rounds in (range(2), range(2, 3)):
        log_rounds(option, tmp_path / "run", config, rounds)
    client = mlflow.MlflowClient(option.tracking_uri)
    [run] = client.search_runs([client.get_experiment_by_name("tracked").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["seed"] == "7"
    history = client.get_metric_history(run.info.run_id, "val_sa/0.125")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.0), (1, 0.125), (2, 0.25)]


@pytest.mark.parametrize(("option", "words"), [("wandb", ["logger.offline=true"]), ("mlflow", [])])
def test_a_training_is_tracked_by_the_names_of_metrics_csv(tmp_path, monkeypatch, caplog, option, words):
    pytest.importorskip(option, reason=f"pip install 'splitmix[{option}]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main(["train", *QUICK, f"logger={option}", *words, "name=tracked"]) == 0
    [run] = (tmp_path / "outputs" / "tracked").iterdir()
    assert "goes on without it" not in (run / "train.log").read_text()
    names = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    if option == "wandb":
        sys.modules["wandb"].teardown()
        [file] = run.glob("wandb/offline-run-*/*.wandb")
        kept = file.read_bytes()
        assert all(name.encode() in kept for name in names if name != "round")
    else:
        import mlflow

        client = mlflow.MlflowClient("sqlite:///mlflow.db")
        [tracked] = client.search_runs([client.get_experiment_by_name("tracked").experiment_id])
        assert set(names) - {"round"} <= set(tracked.data.metrics)
