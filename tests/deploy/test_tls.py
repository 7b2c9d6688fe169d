"""A fleet of splitmix deploy-init: over TLS, nodes with keys train to the simulation's bits; others are turned away."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import contextmanager
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


def serve_to_the_end(started, fleet, starts=5):
    """Start the server again, as systemd would, until its run is finished."""
    for _ in range(starts):
        server = started.start("server", ["sh", str(fleet / "server" / "start.sh")])
        wait_until(lambda server=server: server.poll() is not None, "the run does not end")
        if server.returncode == 0:
            return
        sleep(5)
    raise AssertionError(said(started.logs / "server.log")[-4000:])


def rounds_done(fleet):
    file = fleet / "run" / "rounds.jsonl"
    return len({entry.round for entry in read_journal(file)}) if file.is_file() else 0


@pytest.mark.skipif("SPLITMIX_FLEETS" not in os.environ, reason="takes many minutes: set SPLITMIX_FLEETS=1")
def test_eight_nodes_of_four_budgets_and_a_server_that_is_killed(tmp_path, environment):
    run = ("rounds=2", "budget.widths=8-4-2-1")
    fleet, names = make_fleet(tmp_path, environment, 8, *run)
    with processes(tmp_path / "logs", environment) as started:
        started.start("server", ["sh", str(fleet / "server" / "start.sh")])
        for name in names:
            started.start(name, ["sh", str(fleet / "nodes" / name / "start.sh")])
        wait_until(lambda: rounds_done(fleet) == 1 and status(fleet) == "running", "no round")
        started.end("server", hard=True)
        serve_to_the_end(started, fleet)
    entries = read_journal(fleet / "run" / "rounds.jsonl")
    assert [(entry.round, entry.outcome) for entry in entries] == [(0, "accepted")] * 8 + [(1, "accepted")] * 8
    results = json.loads((fleet / "run" / "results.json").read_text())
    assert [client["budget"] for client in results["clients"]] == [0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1, 1]
    split = ("train", "dataset.domain_count=4", "clients_per_domain=2", *run)
    splitmix(tmp_path, environment, *split, *WORDS, "hydra.run.dir=simulated")
    same_weights(fleet / "run", tmp_path / "simulated")


@pytest.mark.skipif("SPLITMIX_FLEETS" not in os.environ, reason="takes many minutes: set SPLITMIX_FLEETS=1")
def test_a_node_killed_in_mid_round_comes_back_and_the_round_is_repeated(tmp_path, environment):
    run = ("rounds=2", "budget.widths=8-2")
    fleet, names = make_fleet(tmp_path, environment, 2, *run, "min_clients=2")
    script = ["sh", str(fleet / "nodes" / names[0] / "start.sh")]
    received = tmp_path / "logs" / f"{names[0]}.log"
    with processes(tmp_path / "logs", environment) as started:
        server = started.start("server", ["sh", str(fleet / "server" / "start.sh")])
        for name in names:
            started.start(name, ["sh", str(fleet / "nodes" / name / "start.sh")])
        wait_until(lambda: rounds_done(fleet) == 1, "no round")
        # The request of the second round has come, and the process that answers it is starting.
        before = said(received).count("Receiving")
        wait_until(lambda: said(received).count("Receiving") > before, "no second request")
        started.end(names[0], hard=True)
        started.start(names[0], script)
        wait_until(lambda: server.poll() is not None, "the run does not end")
        assert server.returncode == 0, said(tmp_path / "logs" / "server.log")[-4000:]
    outcomes = [(e.round, e.client, e.outcome) for e in read_journal(fleet / "run" / "rounds.jsonl")]
    # Flower tells that the node is lost; the other's update is not used alone.
    assert (1, names[0], "failed") in outcomes and (1, names[1], "empty") in outcomes
    assert outcomes[-2:] == [(1, names[0], "accepted"), (1, names[1], "accepted")]
    split = ("train", "dataset.domain_count=2", "clients_per_domain=1", *run)
    splitmix(tmp_path, environment, *split, *WORDS, "hydra.run.dir=simulated")
    same_weights(fleet / "run", tmp_path / "simulated")


class Hosts:
    """Hosts of their own in network namespaces, on one network: the server has the address 10.77.0.1.

    Args:
        names: of the other hosts, which have the addresses from 10.77.0.2 on.
    """

    def __init__(self, names):
        self.mark = secrets.token_hex(2)
        self.cables = {name: f"v{self.mark}{number}" for number, name in enumerate(names)}
        for name in ("server", *names):
            self.ip("netns", "add", self.space(name))
            self.ip("-n", self.space(name), "link", "set", "lo", "up")
        server = ("-n", self.space("server"))
        self.ip(*server, "link", "add", "switch", "type", "bridge")
        self.ip(*server, "address", "add", "10.77.0.1/24", "dev", "switch")
        self.ip(*server, "link", "set", "switch", "up")
        for number, (name, cable) in enumerate(self.cables.items(), 2):
            far = ("name", "wire", "netns", self.space(name))
            self.ip(*server, "link", "add", cable, "type", "veth", "peer", *far)
            self.ip(*server, "link", "set", cable, "master", "switch")
            self.ip("-n", self.space(name), "address", "add", f"10.77.0.{number}/24", "dev", "wire")
            self.ip("-n", self.space(name), "link", "set", "wire", "up")
            self.connect(name, True)

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def space(self, name):
        return f"splitmix-{self.mark}-{name}"

    def on(self, name, *command):
        """The command as that host runs it."""
        return ["ip", "netns", "exec", self.space(name), *command]

    def connect(self, name, connected):
        """Plug a host's cable in, or pull it."""
        server = self.space("server")
        self.ip("-n", server, "link", "set", self.cables[name], "up" if connected else "down")


@contextmanager
def hosts(*names):
    """Such hosts, taken down at the end."""
    made = Hosts(names)
    try:
        yield made
    finally:
        for name in ("server", *names):
            subprocess.run(["ip", "netns", "delete", made.space(name)], check=False)


@pytest.mark.skipif("SPLITMIX_FLEETS" not in os.environ, reason="takes many minutes: set SPLITMIX_FLEETS=1")
@pytest.mark.skipif(shutil.which("ip") is None or os.geteuid() != 0, reason="network namespaces need root and ip")
def test_hosts_of_which_one_is_cut_off_and_comes_back(tmp_path, environment):
    rounds = 6
    words = ("host=10.77.0.1", "nodes=3", "split=partition", "round_seconds=90", f"rounds={rounds}", "min_clients=2")
    splitmix(tmp_path, environment, "deploy-init", *words, "budget.widths=8-2-2", *WORDS)
    fleet = tmp_path / "fleet"
    names = sorted(path.name for path in (fleet / "nodes").iterdir())
    lost = names[-1]
    with hosts(*names) as net, processes(tmp_path / "logs", environment) as started:
        server = started.start("server", net.on("server", "sh", str(fleet / "server" / "start.sh")))
        for name in names:
            started.start(name, net.on(name, "sh", str(fleet / "nodes" / name / "start.sh")))
        wait_until(lambda: rounds_done(fleet) == 1 or server.poll() is not None, "no round")
        net.connect(lost, False)
        wait_until(lambda: rounds_done(fleet) == 3 or server.poll() is not None, "the others do not go on")
        net.connect(lost, True)
        wait_until(lambda: server.poll() is not None, "the run does not end")
        assert server.returncode == 0, said(tmp_path / "logs" / "server.log")[-4000:]
    accepted = {name: set() for name in names}
    for entry in read_journal(fleet / "run" / "rounds.jsonl"):
        if entry.outcome == "accepted":
            accepted[entry.client].add(entry.round)
    assert accepted[names[0]] == accepted[names[1]] == set(range(rounds))
    # The one that was cut off misses at least a round, and is in the last one again.
    assert {0, rounds - 1} <= accepted[lost] < set(range(rounds))


BAD_NODE = """
import importlib.abc, importlib.util, os, sys

class Spoil(importlib.abc.MetaPathFinder):
    \"\"\"Lets the node's module be imported as ever, and then answers a training request with something else.\"\"\"

    def find_spec(self, name, path, target=None):
        if name != "splitmix.deploy.node":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            answer = module.Node.answer
            module.Node.answer = lambda node, request: spoiled(answer(node, request))

        spec.loader.exec_module = loaded
        return spec

def spoiled(answer):
    import numpy as np
    from splitmix.algorithms.plain_data import from_bytes, to_bytes

    content = from_bytes(answer)
    if content["kind"] != "train":
        return answer
    tensors = content["update"]["tensors"]
    name = sorted(tensors)[0]
    tensors[name] = {
        "nan": lambda value: np.full_like(value, np.nan),
        "shape": lambda value: value[..., :1],
        "gigabyte": lambda value: np.zeros(10**9 // 4, np.float32),
    }[os.environ["BAD_NODE"]](tensors[name])
    return to_bytes(content)

sys.meta_path.insert(0, Spoil())
"""


@pytest.mark.skipif("SPLITMIX_FLEETS" not in os.environ, reason="takes many minutes: set SPLITMIX_FLEETS=1")
def test_nodes_that_answer_with_nan_another_shape_or_a_gigabyte_are_refused(tmp_path, environment):
    fleet, names = make_fleet(tmp_path, environment, 4, "rounds=1", "budget.widths=8-2")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "sitecustomize.py").write_text(BAD_NODE)
    path = f"PYTHONPATH={tmp_path / 'bad'}{os.pathsep}{environment['PYTHONPATH']}"
    good, *bad = names
    # Flower gives an answer up that takes it longer than a minute to carry; a quicker machine brings it to the server.
    expected = {
        "nan": {"refused": "not finite"},
        "shape": {"refused": "wrong shape"},
        "gigabyte": {"refused": "too long", "failed": "Flower"},
    }
    with processes(tmp_path / "logs", environment) as started:
        server = started.start("server", ["sh", str(fleet / "server" / "start.sh")])
        started.start(good, ["sh", str(fleet / "nodes" / good / "start.sh")])
        for name, kind in zip(bad, expected, strict=True):
            script = str(fleet / "nodes" / name / "start.sh")
            started.start(name, ["env", path, f"BAD_NODE={kind}", "sh", script])
        wait_until(lambda: server.poll() is not None, "the run does not end")
        assert server.returncode == 0, said(tmp_path / "logs" / "server.log")[-4000:]
    entries = read_journal(fleet / "run" / "rounds.jsonl")
    outcomes = {entry.client: (entry.outcome, entry.reason) for entry in entries}
    assert len(entries) == 4 and outcomes[good][0] == "accepted"
    for name, allowed in zip(bad, expected.values(), strict=True):
        outcome, reason = outcomes[name]
        assert outcome in allowed and allowed[outcome] in reason, (name, outcome, reason)
