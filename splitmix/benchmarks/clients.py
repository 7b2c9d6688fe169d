"""Memory and time of federations of very many clients: what their number costs, in a fresh process each."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.scaffold import Scaffold
from splitmix.benchmarks.data import random_set
from splitmix.benchmarks.workloads import resident
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.partition import Uniform
from splitmix.engine.settings import EngineSettings
from splitmix.federation.federation import Federation
from splitmix.models.digit_cnn import DigitCNN

NUMBERS = (100, 1_000, 10_000, 100_000)
PER_ROUND, ROUNDS = 100, 3
TRAIN, TEST, SIDE = 10, 2, 8
"""Images of a client, half of the first for validation; their side in pixels."""
MODELS = {"fedavg": FedAvg(width=0.125), "scaffold": Scaffold(width=0.125)}
"""Clients remember their own batch normalisation, and with SCAFFOLD a control variate of the model's size."""
START = "import sys; sys.path[:] = {path!r}; from splitmix.benchmarks.clients import main; main({clients}, {kind!r})"


def client_costs(say: Callable[[str], None]) -> dict[str, Any]:
    """By method and number of clients: seconds to start and to plan a round, bytes beyond the images."""
    record: dict[str, Any] = {}
    for kind in MODELS:
        for clients in NUMBERS:
            boot = START.format(path=sys.path, clients=clients, kind=kind)
            done = subprocess.run([sys.executable, "-c", boot], check=True, stdout=subprocess.PIPE, text=True)
            record[f"{kind} {clients}"] = costs = json.loads(done.stdout.splitlines()[-1])
            say(
                f"{kind}, {clients:,} clients: start {costs['start_s']:.2f} s, plan {costs['plan_s']:.3f} s, beyond the"
                f" data {costs['start_bytes'] / 1e6:.0f} MB at the start and {costs['bytes'] / 1e6:.0f} MB after"
                f" {ROUNDS} rounds"
            )
    return record


def main(clients: int, kind: str) -> None:
    """Measure one number of clients in this process and print it as JSON."""
    print(json.dumps(costs_of(clients, kind)))


def costs_of(clients: int, kind: str, per_round: int = PER_ROUND, rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds and bytes of one federation, on one thread and without worker processes."""
    settings = EngineSettings(accelerator="cpu", workers=1, threads=1, lanes=8)
    dataset = generated(clients)
    used(settings, dataset)
    before = resident("self")
    start = perf_counter()
    federation = made(settings, dataset, kind, clients, per_round, rounds)
    state = federation.initial_state()
    start_s, start_bytes = perf_counter() - start, resident("self") - before
    plan_s = []
    for _ in range(rounds):
        state, metrics = federation.run_round(state)
        plan_s.append(metrics.seconds["data"])
        federation.validate(state, federation.method.widths[-1:])
    gc.collect()
    return {"start_s": start_s, "plan_s": max(plan_s), "start_bytes": start_bytes, "bytes": resident("self") - before}


def used(settings: EngineSettings, dataset: Dataset) -> None:
    """Let PyTorch take what it takes once, whatever the number of clients, by rounds of a federation of ten."""
    train, test = (
        ImageSet(split.images[:count], split.labels[:count], (count,))
        for split, count in ((dataset.train, 10 * TRAIN), (dataset.test, 10 * TEST))
    )
    small = Dataset(dataset.name, dataset.domains, dataset.classes, train, test)
    federation = made(settings, small, "scaffold", 10, 10, 1)
    federation.run_round(federation.initial_state())


def made(
    settings: EngineSettings, dataset: Dataset, kind: str, clients: int, per_round: int, rounds: int
) -> Federation:
    return Federation(
        dataset,
        MODELS[kind],
        DigitCNN(bn="local"),
        partition=Uniform(min_samples=TRAIN),
        engine=settings,
        clients_per_domain=clients,
        clients_per_round=per_round,
        validate_clients=per_round,
        batch_size=8,
        rounds=rounds,
    )


def generated(clients: int) -> Dataset:
    """The images of so many clients."""
    generator = np.random.default_rng(0)
    train, test = (random_set(generator, clients * images, (1, SIDE, SIDE), 10) for images in (TRAIN, TEST))
    return Dataset("generated", ("a",), tuple("0123456789"), train, test)
