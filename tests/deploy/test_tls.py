"""A fleet of splitmix deploy-init: over TLS, nodes with keys train to the simulation's bits; others are turned away."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from splitmix.deploy.journal import read_journal
from splitmix.deploy.processes import free_port, processes
from splitmix.runs.checkpoint import read_content

REPOSITORY = Path(__file__).parents[2]
WORDS = [
    "train_fraction=0.1", "batch_size=16", "model.bn=tracked", "validate_every=9", "test.widths=0.5",
    "engine.lanes=1", "engine.threads=1", "engine.workers=1", "engine.accelerator=cpu",
]  # fmt: skip
MOST_S = 900.0
pytestmark = pytest.mark.slow


@pytest.fixture
def environment():
    pytest.importorskip("flwr", reason="Flower is not installed: pip install 'splitmix[flower]' (Python 3.11)")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PYTHONPATH": str(REPOSITORY), "PATH": path}


def splitmix(place, environment, *words, code=0):
    command = [sys.executable, "-m", "splitmix", *words]
    done = subprocess.run(command, cwd=place, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def make_fleet(place, environment, nodes, *words):
    """A fleet's folder on free ports of the loopback, and the ids of its nodes."""
    port = free_port()
    splitmix(
        place, environment, "deploy-init", "host=127.0.0.1", "listen=127.0.0.1", f"port={port}", f"nodes={nodes}",
        "split=partition", *WORDS, *words,
    )  # fmt: skip
    names = sorted(path.name for path in (place / "fleet" / "nodes").iterdir())
    for name in names:
        with_port(place / "fleet" / "nodes" / name)
    return place / "fleet", names


def with_port(node):
    """Give a node a free port of the loopback."""
    lines = (node / "fleet.env").read_text().splitlines()
    ports = [f"NODE_PORT={free_port()}" if line.startswith("NODE_PORT") else line for line in lines]
    (node / "fleet.env").write_text("\n".join(ports) + "\n")


def wait_until(done, what, seconds=MOST_S):
    deadline = monotonic() + seconds
    while not done():
        assert monotonic() < deadline, what
        sleep(0.5)


def status(fleet):
    file = fleet / "run" / "results.json"
    return json.loads(file.read_text())["status"] if file.is_file() else "none"


def said(path):
    return path.read_text(errors="replace") if path.is_file() else ""


def same_weights(one, other):
    both = [read_content(folder / "checkpoints" / "last.ckpt")["tensors"] for folder in (one, other)]
    assert both[0].keys() == both[1].keys()
    for name, value in both[0].items():
        assert value.equal(both[1][name]), name


def test_nodes_with_keys_are_the_simulation_and_a_stranger_is_turned_away(tmp_path, environment):
    from splitmix.deploy.keys import write_node_keys

    fleet, names = make_fleet(tmp_path, environment, 2, "rounds=2", "budget.widths=8-2")
    stranger = tmp_path / "stranger"
    shutil.copytree(fleet / "nodes" / names[0], stranger)
    for key in ("node.key", "node.pub"):
        (stranger / key).unlink()
    write_node_keys(stranger)
    with_port(stranger)
    with processes(tmp_path / "logs", environment) as started:
        server = started.start("server", ["sh", str(fleet / "server" / "start.sh")])
        # The first node comes before the server knows its key, and tries again.
        for name in names:
            started.start(name, ["sh", str(fleet / "nodes" / name / "start.sh")])
        started.start("stranger", ["sh", str(stranger / "start.sh")])
        wait_until(lambda: (fleet / "run" / "rounds.jsonl").is_file() or server.poll() is not None, "no round")
        checked = splitmix(tmp_path, environment, "deploy-check", f"folder={fleet / 'nodes' / names[0]}", "seconds=60")
        assert "failed" not in checked and "has a certificate of this fleet" in checked and "s behind are" in checked
        wait_until(lambda: server.poll() is not None, "the run does not end")
        assert server.returncode == 0, said(tmp_path / "logs" / "server.log")
        assert started.running["stranger"].poll() is None
    log = said(tmp_path / "logs" / "stranger.log")
    assert "could not establish a connection" in log and "[RUN" not in log
    assert [entry.outcome for entry in read_journal(fleet / "run" / "rounds.jsonl")] == ["accepted"] * 4
    split = ("train", "dataset.domain_count=2", "clients_per_domain=1", "rounds=2", "budget.widths=8-2")
    splitmix(tmp_path, environment, *split, *WORDS, "hydra.run.dir=simulated")
    same_weights(fleet / "run", tmp_path / "simulated")
