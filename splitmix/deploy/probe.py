"""Times and weighs a client's training on this device, by the code that a node runs: `splitmix probe`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import torch

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask
from splitmix.data.dataset import ImageSet
from splitmix.deploy.device import Measured
from splitmix.deploy.device_memory import PeakMemory
from splitmix.deploy.messages import TRAIN, packed, unpacked
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.profile import quartiles
from splitmix.federation.client_side import ClientSettings, client_update
from splitmix.federation.fleet_round import loads_of
from splitmix.models.network import Tensors
from splitmix.randomness import torch_rng

FEW_STEPS = 2
"""Steps of the shorter of the two rounds whose difference is what a step takes."""
FRESH = 3
"""Processes that are started to measure what a start takes."""
LR = 1e-3


@dataclass(frozen=True)
class Probed:
    """A client of one budget, ready to train.

    Attributes:
        width: its budget.
        method: bound to a federation in which it is client 0.
        message: the request of a round, as a node gets it.
        memory: what the client remembers.
    """

    width: float
    method: Method
    message: bytes
    memory: Tensors

    @classmethod
    def of(cls, width: float, method: Method) -> Probed:
        """The client of the first round."""
        state = method.initial_state(0)
        task = method.download(state, method.plan(state, range(len(method.problem.budgets)), 0)[0])
        memory = {name: value[0].clone() for name, value in state.clients.items()}
        return cls(width, method, packed(TRAIN, {"task": task.to_dict()}), memory)

    @property
    def lanes(self) -> int:
        """Models that it trains."""
        return len(self.task().base_models)

    def task(self) -> ClientTask:
        """The task of the request."""
        return ClientTask.from_dict(unpacked(self.message, TRAIN)["task"], self.method.model)

    def train(self, images: ImageSet, settings: ClientSettings, engine: EngineSettings) -> bytes:
        """One round, from request to answer."""
        # A node takes the memory that it begins with from the first model, which it draws anew.
        self.method.initial_state(0)
        update, _ = client_update(self.method, self.task(), self.memory, images, settings, LR, engine)
        return packed(TRAIN, {"update": None if update is None else update.to_dict()})


def probe(
    methods: Sequence[tuple[float, Method]],
    settings: ClientSettings,
    engine: EngineSettings,
    base_width: float,
    steps: int,
    repeats: int,
    images: int,
    clock: Callable[[], float] = perf_counter,
    fresh: Callable[[Probed, ImageSet, ClientSettings, EngineSettings], float] | None = None,
) -> list[Measured]:
    """What a client of each budget costs.

    Of each budget a round of few steps and one of `steps` more are timed, one after the other and all budgets in turns,
    so that whatever else runs on the machine slows all of them alike. The difference is that of the steps. Medians
    count; a first turn, in which memory is measured, does not. What a fresh process takes beyond one that has trained
    before is beside the steps.

    Args:
        methods: by budget, ascending; in each the client of that budget is the first.
        images: training images that the device will hold beside what training needs.
        clock: seconds.
        fresh: seconds of a process that is started for one round; None for rounds of a process that runs already.
    """
    clients = [Probed.of(width, method) for width, method in methods]
    shape, classes = clients[0].method.problem.input_shape, clients[0].method.problem.classes
    few, many = (random_images(count * settings.batch_size, shape, classes) for count in (FEW_STEPS, FEW_STEPS + steps))
    settings = replace(settings, local_epochs=1)
    torch.set_num_threads(engine.cpu_threads)
    peaks = []
    for client in clients:
        memory = PeakMemory(engine.device_type)
        client.train(many, settings, engine)
        peak = memory.peak()
        held = max(0, images - len(many.images)) * many.images[0].numel()
        peaks.append(None if peak is None else peak + held)
    taken: list[tuple[list[float], list[float]]] = [([], []) for _ in clients]
    for _ in range(repeats):
        for client, times in zip(clients, taken, strict=True):
            for data, of_data in zip((few, many), times, strict=True):
                start = clock()
                client.train(data, settings, engine)
                of_data.append(clock() - start)
    started_s = 0.0
    if fresh is not None:
        whole = median(fresh(clients[0], few, settings, engine) for _ in range(min(repeats, FRESH)))
        started_s = max(0.0, whole - median(taken[0][0]))
    rows = []
    for client, (short, long), peak in zip(clients, taken, peaks, strict=True):
        low, step, high = quartiles([(most - least) / steps for least, most in zip(short, long, strict=True)])
        if step <= 0:
            # So busy a machine that more steps took less time: all time is said to be that of the steps.
            low, step, high = (value / (FEW_STEPS + steps) for value in quartiles(long))
        start_s = max(0.0, median(short) - FEW_STEPS * step) + started_s
        load = loads_of(client.method, {client.width}, base_width)[client.width]
        rows.append(Measured(client.width, client.lanes, load, step, max(0.0, low), max(0.0, high), start_s, peak))
    return rows


def random_images(count: int, shape: tuple[int, int, int], classes: int) -> ImageSet:
    """Images of noise and random labels."""
    generator = torch_rng(0, "probe")
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.randint(0, classes, (count,), generator=generator), (count,))
