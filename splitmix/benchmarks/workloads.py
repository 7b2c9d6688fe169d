"""Speed of fixed workloads on this machine: packed lanes against one lane at a time, beside its matrix products."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

import splitmix
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.sheterofl import SHeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import Dataset
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.cost import lane_cost
from splitmix.federation.federation import Federation
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.preresnet18 import PreResNet18

PHASES = ("data", "train", "merge", "evaluate")
TRAIN_PASSES = 3
"""Forward-sized passes of a training step: forward, gradient by inputs, gradient by weights."""
MATRIX = 2048


@dataclass(frozen=True)
class Workload:
    """Something to time.

    Attributes:
        what: one line on it.
        components: what differs from the default federation.
        widths: widths validated after every round.
    """

    what: str
    components: dict[str, Any] = field(default_factory=dict)
    widths: tuple[float, ...] = ()


WORKLOADS = {
    "round": Workload(
        "Split-Mix round: 50 clients, 111 images each, 3.75 base models on average, then 4 widths validated",
        widths=(0.125, 0.25, 0.5, 1.0),
    ),
    "dat": Workload(
        "Split-Mix + DAT (lambda 0.5, PGD-7): 50 clients, 111 images each, training and merge only",
        {
            "algorithm": SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.5),
            "model": DigitCNN(bn="tracked"),
        },
    ),
    "fedavg": Workload(
        "federated averaging of one model of width 0.125: 50 clients, 111 images each, training and merge only",
        {"algorithm": FedAvg(width=0.125)},
    ),
    "sheterofl": Workload(
        "SHeteroFL round: 50 clients, 111 images each, all widths up to the budget, then 4 widths validated",
        {"algorithm": SHeteroFL()},
        widths=(0.125, 0.25, 0.5, 1.0),
    ),
    "preresnet18": Workload(
        "Split-Mix round of PreResNet-18 on 28x28 images: 10 clients, 111 images each, training and merge only",
        {"model": PreResNet18(), "clients_per_domain": 2, "train_fraction": 0.2},
    ),
}


@dataclass(frozen=True)
class Timing:
    """Seconds of a round by phase, medians over the repeats, and what was computed in them.

    Attributes:
        engine: settings and what `auto` chose.
        seconds: by phase.
        flops: floating-point operations of a round, training and evaluation.
        lane_steps: optimizer steps of single lanes in a round.
    """

    engine: dict[str, Any]
    seconds: dict[str, float]
    flops: float
    lane_steps: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def benchmark(names: list[str], dataset: Dataset, engine: EngineSettings, repeats: int) -> dict[str, Any]:
    """Time workloads, packed and one lane at a time in turns, after a first round of each that does not count.

    Args:
        engine: settings of the packed path; the other differs in `lanes=1` alone.
        repeats: rounds that count.

    Returns:
        A record for JSON: the machine, its matrix-product rate, and per workload both timings and their ratio.
    """
    rate = matrix_rate(engine)
    record: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(engine),
        "versions": {"splitmix": splitmix.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "repeats": repeats,
        "matrix_product_flops_per_s": rate,
        "workloads": {},
    }
    for name in names:
        packed, single = measure(WORKLOADS[name], dataset, engine, repeats)
        record["workloads"][name] = {
            "what": WORKLOADS[name].what,
            "packed": described(packed, rate),
            "one_lane": described(single, rate),
            "speedup": single.total / packed.total,
        }
    return record


def measure(workload: Workload, dataset: Dataset, engine: EngineSettings, repeats: int) -> tuple[Timing, Timing]:
    """Timings of the packed path and of one lane at a time."""
    packed, single = (Timed(workload, dataset, settings) for settings in (engine, replace(engine, lanes=1)))
    for _ in range(repeats + 1):
        packed.round()
        single.round()
    packed.federation.engine.close()
    single.federation.engine.close()
    return packed.timing(), single.timing()


class Timed:
    """A federation whose rounds are timed."""

    def __init__(self, workload: Workload, dataset: Dataset, engine: EngineSettings):
        self.workload = workload
        self.settings = engine
        self.federation = Federation(dataset, engine=engine, **workload.components)
        self.state = self.federation.initial_state()
        self.seconds: list[dict[str, float]] = []

    def round(self) -> None:
        """Train, and validate if the workload does."""
        self.state, metrics = self.federation.run_round(self.state)
        start = perf_counter()
        if self.workload.widths:
            self.federation.validate(self.state, self.workload.widths)
        self.seconds.append({**metrics.seconds, "evaluate": perf_counter() - start})

    def timing(self) -> Timing:
        """Medians over all rounds but the first."""
        seconds = {phase: median(row[phase] for row in self.seconds[1:]) for phase in PHASES}
        engine = {**asdict(self.settings), "chosen": self.federation.engine.tuned}
        return Timing(engine, seconds, self.flops(), self.lane_steps())

    def lane_steps(self) -> int:
        """Optimizer steps of single lanes in a round."""
        tasks = self.federation.method.plan(self.state, range(len(self.federation.clients)), 0)
        return sum(len(task.base_models) * len(self.federation.batches(task.client, 0)) for task in tasks)

    def flops(self) -> float:
        """Floating-point operations of a round, two per multiply-accumulate."""
        clients, method = self.federation.clients, self.federation.method
        trained = 0.0
        for client, budget in zip(clients, self.federation.budgets, strict=True):
            load = sum(lane_cost(spec)[0] * times for spec, times in method.training_load(budget))
            trained += len(client.train) * load
        evaluated = 0.0
        if self.workload.widths:
            images = sum(len(client.val) for client in clients)
            for group in method.mix_groups(self.state.tensors, self.workload.widths):
                evaluated += images * len(next(iter(group.tensors.values()))) * lane_cost(group.spec)[0]
        return 2 * (TRAIN_PASSES * trained + evaluated)


def memory(dataset: Dataset, engine: EngineSettings, rounds: int) -> Iterator[tuple[int, float]]:
    """Resident memory in bytes, this process and its workers together, after each round of a small federation."""
    federation = Federation(dataset, engine=engine, train_fraction=0.1, rounds=rounds)
    state = federation.initial_state()
    for number in range(rounds):
        state, _ = federation.run_round(state)
        federation.validate(state, [1.0])
        pids = [] if federation.engine.pool is None else federation.engine.pool.pids
        yield number + 1, sum(map(resident, pids)) + resident("self")
    federation.engine.close()


def resident(process: int | str) -> float:
    """Resident memory of a process in bytes, pages shared with others counted in each (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def described(timing: Timing, rate: float) -> dict[str, Any]:
    """A timing for JSON."""
    achieved = timing.flops / timing.total
    return {
        "engine": timing.engine,
        "seconds": {**timing.seconds, "total": timing.total},
        "flops_per_s": achieved,
        "lane_steps_per_s": timing.lane_steps / (timing.seconds["data"] + timing.seconds["train"]),
        "share_of_matrix_rate": achieved / rate,
    }


def matrix_rate(engine: EngineSettings) -> float:
    """Floating-point operations per second of a large float32 matrix product on the device and threads in use."""
    fabric = engine.fabric()
    threads = torch.get_num_threads()
    torch.set_num_threads(engine.cpu_threads)
    matrix = torch.rand(MATRIX, MATRIX, device=fabric.device)
    times = []
    for _ in range(6):
        start = perf_counter()
        float((matrix @ matrix)[0, 0])  # reading a value waits for the device
        times.append(perf_counter() - start)
    torch.set_num_threads(threads)
    return 2 * MATRIX**3 / min(times)


def machine(engine: EngineSettings) -> str:
    """Processor, threads in use, device."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    device = engine.fabric().device
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{name}, {engine.cpu_threads} threads{gpu}"
