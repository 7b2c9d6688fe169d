"""What a round of a federation measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from time import perf_counter

import torch

from splitmix.engine.finishing import Trained
from splitmix.models.network import Tensors


@dataclass(frozen=True)
class RoundMetrics:
    """What a round measured.

    Attributes:
        round: 0-based number of the round.
        lr: learning rate of the round.
        loss, accuracy: training mean over the participants, each over its samples and lanes.
        bytes_down, bytes_up: training payload of the round, all participants together.
        seconds: by phase: `data` (drawing and gathering batches), `train`, `merge`. Workers overlap the first two and
            are counted as if each phase were spread evenly over them.
    """

    round: int
    lr: float
    loss: float
    accuracy: float
    bytes_down: int
    bytes_up: int
    seconds: dict[str, float]


class RoundMeasurements:
    """What is measured while the clients of a round come back.

    Attributes:
        waited_s: seconds spent waiting for them.
        data_s: seconds that they spent gathering batches.
    """

    def __init__(self) -> None:
        self.waited_s = self.data_s = 0.0
        self.by_client: dict[int, list[Tensors]] = defaultdict(list)

    def timed(self, results: Iterator[Trained]) -> Iterator[Trained]:
        """The same results, measured one by one."""
        while True:
            start = perf_counter()
            trained = next(results, None)
            self.waited_s += perf_counter() - start
            if trained is None:
                return
            self.data_s += trained.data_s
            self.by_client[trained.update.task.client].append(trained.update.measurements)
            yield trained

    def mean(self, name: str) -> float:
        """Mean over clients, in their order, of the mean over each one's lanes; not a number without clients."""
        clients = [self.by_client[client] for client in sorted(self.by_client)]
        values = [torch.cat([part[name] for part in parts]).mean().item() for parts in clients]
        return mean(values) if values else math.nan
