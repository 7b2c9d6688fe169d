"""What the drills of a deployment share: its folder and processes, what was checked, the simulation it must equal."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from splitmix.deploy.journal import ACCEPTED, Entry, read_journal
from splitmix.deploy.processes import free_port
from splitmix.runs.checkpoint import read_content

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "PYTHONPATH": str(CHECKOUT),
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
ONE_LANE = ["engine.lanes=1", "engine.threads=1", "engine.workers=1", "engine.accelerator=cpu"]
"""With these a deployment has the bits of the simulation."""
MOST_S = 1800.0


class Drill:
    """Prints what it does and whether each check holds.

    Args:
        place: folder of all that it writes.
    """

    def __init__(self, place: Path):
        self.place, self.failed, self.start = place, 0, monotonic()

    def say(self, text: str) -> None:
        """Tell what is done."""
        print(f"{monotonic() - self.start:6.0f} s  {text}", flush=True)

    def check(self, holds: bool, what: str) -> None:
        """Tell whether something holds."""
        self.failed += not holds
        self.say(f"{'ok    ' if holds else 'FAILED'}  {what}")

    def splitmix(self, *words: str) -> str:
        """Run a verb to its end in the drill's folder; what it printed."""
        command = [sys.executable, "-m", "splitmix", *words]
        done = subprocess.run(
            command, cwd=self.place, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"splitmix {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        deadline = monotonic() + MOST_S
        while not done():
            if monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {MOST_S:g} s")
            sleep(0.5)


class FleetFolder:
    """A folder of `splitmix deploy-init` whose nodes share out one dataset, all on this machine.

    Args:
        drill: in whose folder it is made.
        name: of the folder.
        nodes: their number.
        words: of the run.
        host: address on which the server listens.
    """

    def __init__(self, drill: Drill, name: str, nodes: int, words: Sequence[str], host: str = "127.0.0.1"):
        self.drill, self.words, self.path = drill, list(words), drill.place / name
        place = [f"out={name}", f"host={host}", f"listen={host}", f"port={free_port()}"]
        drill.splitmix("deploy-init", *place, f"nodes={nodes}", "split=partition", *ONE_LANE, *words)
        self.names = sorted(path.name for path in (self.path / "nodes").iterdir())
        for node in self.names:
            own_port(self.node(node))

    def node(self, name: str) -> Path:
        """The folder of a node."""
        return self.path / "nodes" / name

    def server_command(self) -> list[str]:
        """What starts the server, or goes on with it."""
        return ["sh", str(self.path / "server" / "start.sh")]

    def node_command(self, name: str) -> list[str]:
        """What starts a node."""
        return ["sh", str(self.node(name) / "start.sh")]

    def wait_for_server(self, log: Path) -> None:
        """Wait until the server knows all keys."""
        known = len(list(self.path.glob("nodes/*/node.pub")))
        self.drill.wait(lambda: text_of(log).count("registered successfully") >= known, "the server does not start")

    @property
    def entries(self) -> list[Entry]:
        """What became of the clients in the rounds so far."""
        file = self.path / "run" / "rounds.jsonl"
        return read_journal(file) if file.is_file() else []

    @property
    def saved_rounds(self) -> int:
        """Rounds of the last checkpoint."""
        file = self.path / "run" / "checkpoints" / "last.ckpt"
        return int(read_content(file)["round"]) if file.is_file() else 0

    @property
    def results(self) -> dict[str, Any]:
        """results.json of the run."""
        found: dict[str, Any] = json.loads((self.path / "run" / "results.json").read_text())
        return found

    def accepted(self) -> dict[int, list[str]]:
        """By round, counted from 1: the clients whose updates counted."""
        rounds = sorted({entry.round for entry in self.entries})
        return {
            number + 1: sorted(e.client for e in self.entries if e.round == number and e.outcome == ACCEPTED)
            for number in rounds
        }

    def simulate(self, name: str) -> Path:
        """Simulate the run with the clients that were left out declared as absent; returns the run folder."""
        accepted = self.accepted()
        clients = [
            {key: client[key] for key in ("id", "domain", "budget")}
            | {"absent": [number for number, present in accepted.items() if client["id"] not in present]}
            for client in self.results["clients"]
        ]
        file = self.drill.place / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"clients": clients}, sort_keys=False))
        resolved = yaml.safe_load((self.path / "run.yaml").read_text())
        split = [
            f"dataset.domain_count={resolved['dataset']['domain_count']}",
            f"clients_per_domain={resolved['clients_per_domain']}",
        ]
        # min_clients is of the fleet; the other words are the run's.
        words = [word for word in self.words if not word.startswith(("min_clients=", "round_seconds="))]
        declared = [f"fleet={file}"] if any(client["absent"] for client in clients) else []
        self.drill.splitmix("train", *split, *declared, *ONE_LANE, *words, f"hydra.run.dir={name}")
        return self.drill.place / name

    def check_equal(self, simulated: Path) -> None:
        """Check that weights and accuracies are those of a simulation, bit for bit."""
        both = [read_content(run / "checkpoints" / "last.ckpt") for run in (self.path / "run", simulated)]
        one, other = ({**content["tensors"], **content["server"]} for content in both)
        same = one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())
        self.drill.check(same, f"all {len(one)} tensors after the last round are the simulation's, bit for bit")
        results = [self.results, json.loads((simulated / "results.json").read_text())]
        tested = [[test["per_client"] for test in result["tests"]] for result in results]
        self.drill.check(tested[0] == tested[1], "so are all clients' test accuracies at every width")


def own_port(node: Path) -> None:
    """Give a node a free port of the loopback."""
    lines = (node / "fleet.env").read_text().splitlines()
    ports = [f"NODE_PORT={free_port()}" if line.startswith("NODE_PORT") else line for line in lines]
    (node / "fleet.env").write_text("\n".join(ports) + "\n")


def text_of(path: Path) -> str:
    """The text of a log; empty while it is not there."""
    return path.read_text(errors="replace") if path.is_file() else ""


def outcomes(entries: Sequence[Entry]) -> str:
    """What became of the clients, round by round, in a line each."""
    lines = []
    for number in sorted({entry.round for entry in entries}):
        told = [f"{e.client} {e.outcome}{f' ({e.reason})' if e.reason else ''}" for e in entries if e.round == number]
        lines.append(f"            round {number + 1}: {', '.join(told)}")
    return "\n".join(lines)


@contextmanager
def drilled(describe: str | None, **more: Mapping[str, Any]) -> Iterator[tuple[Drill, argparse.Namespace]]:
    """A drill with its options, whose folder is removed at the end unless it was named; ends the program.

    Args:
        describe: the docstring of the drill.
        more: further options, as words of `add_argument`.
    """
    options = argparse.ArgumentParser(description=(describe or "").splitlines()[0])
    options.add_argument("--folder", type=Path, help="write here, and leave it there")
    for name, words in more.items():
        options.add_argument(f"--{name.replace('_', '-')}", **words)
    given = options.parse_args()
    # A kill tidies up as Ctrl-C does, also where the shell had Ctrl-C ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(given.folder or temporary).resolve()
        place.mkdir(parents=True, exist_ok=True)
        drill = Drill(place)
        yield drill, given
    drill.say("all checks hold" if not drill.failed else f"{drill.failed} checks FAILED")
    sys.exit(1 if drill.failed else 0)
