"""Two rounds on two nodes over Flower's own processes on the loopback; the bytes are those of the simulation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fleets import simulate

from splitmix.commands.help import composed
from splitmix.config import resolve
from splitmix.deploy.journal import read_journal
from splitmix.runs.checkpoint import read_content
from splitmix.runs.metrics import read_metrics

WORDS = [
    "rounds=2", "train_fraction=0.1", "batch_size=16", "model.bn=tracked", "validate_every=2", "test.widths=0.5",
    "budget.widths=8-2",
    "engine.lanes=1", "engine.threads=1", "engine.workers=1", "engine.accelerator=cpu",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("by_ray", [False, True])
def test_the_demonstration_is_the_simulation(tmp_path, by_ray):
    pytest.importorskip("flwr", reason="Flower is not installed: pip install 'splitmix[flower]' (Python 3.11)")
    if by_ray:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'flwr[simulation]'")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def splitmix(*words):
        command = [sys.executable, "-m", "splitmix", *words, *WORDS]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)

    done = splitmix("deploy-demo", "clients=2", f"simulation={by_ray}".lower(), "hydra.run.dir=demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bytes/round" in done.stdout and "round 2/2" in done.stdout
    words = [*WORDS, "dataset.domain_count=2", "clients_per_domain=1"]
    simulate(resolve(composed("train", words)), tmp_path / "simulated")
    both = [read_content(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("demo/run", "simulated")]
    for name, value in both[0]["tensors"].items():
        assert value.equal(both[1]["tensors"][name]), name
    results = json.loads((tmp_path / "demo" / "run" / "results.json").read_text())
    payload = {client["id"]: client["bytes_up"] for client in results["clients"]}
    entries = read_journal(tmp_path / "demo" / "run" / "rounds.jsonl")
    assert [entry.outcome for entry in entries] == ["accepted"] * 4
    for entry in entries:
        assert 0 < entry.device_seconds < entry.seconds
        assert entry.bytes_up == pytest.approx(payload[entry.client], rel=0.02)
        assert entry.bytes_down == pytest.approx(payload[entry.client], rel=0.02)
    assert read_metrics(tmp_path / "demo" / "run" / "metrics.csv")[0]["bytes_up"] == sum(payload.values())
