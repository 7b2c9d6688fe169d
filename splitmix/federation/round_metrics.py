"""What a round of a federation measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import mean
from time import perf_counter

import torch

from splitmix.engine.finishing import Trained
from splitmix.federation.fleet_round import FleetRound
from splitmix.models.network import Tensors
from splitmix.privacy.accounting import Guarantee


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
        fleet: what became of the participants, where a fleet is simulated.
        guarantee: what holds after all rounds so far, where the run is private.
    """

    round: int
    lr: float
    loss: float
    accuracy: float
    bytes_down: int
    bytes_up: int
    seconds: dict[str, float]
    fleet: FleetRound | None = None
    guarantee: Guarantee | None = None

    def columns(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Columns of metrics.csv, with these seconds by phase."""
        measured = {"train_loss": self.loss, "train_accuracy": self.accuracy}
        # In a round to which nobody was drawn there is nothing to measure.
        row = {name: value for name, value in measured.items() if not math.isnan(value)} | {"lr": self.lr}
        row |= {"bytes_down": self.bytes_down, "bytes_up": self.bytes_up}
        row |= {f"seconds/{phase}": value for phase, value in seconds.items()}
        if self.guarantee and self.guarantee.epsilon is not None:
            row["epsilon"] = self.guarantee.epsilon
        return row | (self.fleet.metrics if self.fleet else {})


class RoundMeasurements:
    """What is measured while the clients of a round come back.

    Attributes:
        waited_s: seconds spent waiting for them.
        data_s: seconds that they spent gathering batches.
    """

    def __init__(self) -> None:
        self.began = self.planned = perf_counter()
        self.waited_s = self.data_s = 0.0
        self.by_client: dict[int, list[Tensors]] = defaultdict(list)

    def all_planned(self) -> None:
        """Clients begin to train."""
        self.planned = perf_counter()

    def seconds(self, processes: int) -> dict[str, float]:
        """Seconds by phase of a round that ends now, trained by so many processes; see `RoundMetrics`."""
        data_s = self.data_s / processes
        return {
            "data": self.planned - self.began + data_s,
            "train": self.waited_s - data_s,
            "merge": perf_counter() - self.planned - self.waited_s,
        }

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
