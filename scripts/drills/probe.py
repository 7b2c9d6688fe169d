"""What `splitmix probe` predicts for a round beside what a node then takes, in turns, each in a process of its own.

    python scripts/drills/probe.py --turns 5

A node's process is started, loads its images and answers the request of a real round, as Flower's process for a message
does. Times are seconds of the processor, so that other work on the machine changes little; `--clock wall` takes those
of the clock. Probe and node follow one another in every turn. Ends with 0 if every median lies within 20 %.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import yaml
from drill import ENVIRONMENT, Drill, drilled

RUN = [
    "clients_per_domain=1", "dataset.domain_count=4", "train_fraction=0.4", "budget.widths=8-4-2-1", "validate_every=9",
    "rounds=1", "test.widths=0.125", "engine.lanes=1", "engine.threads=1", "engine.accelerator=cpu",
]  # fmt: skip
CLOCKS = {"cpu": process_time, "wall": perf_counter}
MOST = 0.2


def requests_of_a_round(place: Path) -> list[dict[str, Any]]:
    """Deploy one round in this process; by client its budget, images, and the files of its settings and its request."""
    from splitmix.commands.help import composed
    from splitmix.config import load_run_config, resolve
    from splitmix.deploy.loopback import Loopback
    from splitmix.deploy.messages import TRAIN, unpacked
    from splitmix.deploy.node import Node
    from splitmix.deploy.node_settings import read_node
    from splitmix.deploy.server import run_deployment
    from splitmix.fleet import Fleet

    resolved = resolve(composed("train", RUN))
    config = load_run_config(resolved)

    def node_of(client: str) -> Any:
        file = place / f"{client}.yaml"
        settings = {"client": client, "memory": "memory", "split": "partition", "accelerator": "cpu", "threads": 1}
        file.write_text(yaml.safe_dump(settings))
        node = Node(read_node(file))

        def answer(request: bytes) -> bytes:
            if unpacked(request)["kind"] == TRAIN:
                (place / f"{client}.request").write_bytes(request)
            return node.answer(request)

        return answer

    transport = Loopback({number: node_of(client.id) for number, client in enumerate(Fleet().clients_of(config))})
    try:
        run_deployment(config, place / "run", resolved, Fleet(), transport)
    finally:
        transport.close()
    found: list[dict[str, Any]] = json.loads((place / "run" / "results.json").read_text())["clients"]
    return found


def as_node(settings: str, request: str, clock: str) -> None:
    """In a process of its own: answer a request, where nothing is loaded yet."""
    import splitmix.deploy.flower as flower

    flower.import_client_process()
    flower.node_at(Path(settings)).answer(Path(request).read_bytes())


def as_probe(out: str, images: str, clock: str) -> None:
    """In a process of its own: `splitmix probe` by this clock."""
    import splitmix.deploy.probe as probing
    from splitmix.commands import main
    from splitmix.deploy.fresh_process import fresh_process_s

    def fresh(*given: Any) -> float:
        return timed(clock, lambda: fresh_process_s(*given))

    measure = probing.probe
    probing.probe = lambda *given, **_: measure(*given, clock=CLOCKS[clock], fresh=fresh)
    words = [f"out={out}", f"images={images}", "repeats=3", "engine.threads=1"]
    sys.exit(main(["probe", *words, "engine.accelerator=cpu", "engine.lanes=1"]))


def timed(clock: str, run: Callable[[], object]) -> float:
    """Seconds that a process takes that is run by this one: of the processor, or of the clock."""
    before, start = children_s(), perf_counter()
    run()
    return children_s() - before if clock == "cpu" else perf_counter() - start


def children_s() -> float:
    """Seconds of the processor that processes took which this one ran to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_a_process(clock: str, what: str, *words: object) -> float:
    """Seconds of a fresh process for `as_node` or `as_probe`."""
    command = [sys.executable, __file__, what, *map(str, words), clock]

    def run() -> None:
        done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    return timed(clock, run)


def compare(drill: Drill, given: argparse.Namespace) -> None:
    """Probe and answer in turns, and tell the shares of the predictions in what was taken."""
    from splitmix.deploy.device import read_device

    clients = requests_of_a_round(drill.place)
    shares: dict[float, list[float]] = {client["budget"]: [] for client in clients}
    for turn in range(given.turns):
        for client in clients:
            out, images = drill.place / "device.json", client["n_train"]
            if client is clients[0]:
                in_a_process(given.clock, "as_probe", out, images)
            device = read_device(out)
            [row] = [row for row in device.measured if row.width == client["budget"]]
            files = [drill.place / f"{client['id']}.{end}" for end in ("yaml", "request")]
            took = in_a_process(given.clock, "as_node", *files)
            predicted = row.round_s(images, device.batch_size)
            shares[row.width].append(predicted / took)
            drill.say(
                f"turn {turn + 1}, {row.base_models} base models, {images} images:"
                f" predicted {predicted:.2f} s, took {took:.2f} s, share {predicted / took:.2f}"
            )
    for width, found in shares.items():
        told = f"×{width:g}: predicted is {median(found):.2f} of what was taken ({min(found):.2f} to {max(found):.2f})"
        drill.check(abs(median(found) - 1) <= MOST, told)


if __name__ == "__main__":
    if sys.argv[1:2] == ["as_node"] or sys.argv[1:2] == ["as_probe"]:
        globals()[sys.argv[1]](*sys.argv[2:])
    else:
        more = {
            "turns": {"type": int, "default": 5},
            "clock": {"choices": list(CLOCKS), "default": "cpu"},
        }
        with drilled(__doc__, **more) as (the_drill, options):
            compare(the_drill, options)
