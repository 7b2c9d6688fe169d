"""What is to be evaluated, as a value that can be cut up by clients and handed to a worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from splitmix.algorithms.base import MixGroup
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.data.dataset import ImageSet
from splitmix.evaluation.accuracy import Accuracy, Calibration, evaluate, of_parts, shared_statistics
from splitmix.evaluation.chunks import chunk_starts
from splitmix.evaluation.mixing import MEAN
from splitmix.evaluation.robust import attackable_together, evaluate_attacked
from splitmix.models.network import Tensors
from splitmix.robustness.attacks import Attack

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing itself from Python 3.11 on

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What a task measures with in one process; see `ClientsTask.run`.

    Attributes:
        groups: the models of the task's widths.
        images: the split that the batches are rows of, on the device.
        calibration: the images and rows from which each client's statistics are estimated.
        statistics: what all clients share instead: of every level the entries of each mix group.
        clients: what these clients have of the model for themselves.
    """

    groups: Sequence[MixGroup]
    images: ImageSet
    calibration: Calibration | None
    statistics: Sequence[Sequence[Tensors]] | None
    clients: Tensors
    batches_per_pass: int
    dtype: torch.dtype
    seed: int
    free_memory: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class ClientsTask(ABC, Generic[Result]):
    """Something to be measured on some clients' images, at some widths.

    Attributes:
        widths: the widths.
        split: `train` (validation images are rows of it) or `test`.
        batches: rows of the split, per client, batch by batch.
        calibration: rows of the training set, per client, batch by batch, from which to estimate batch-normalisation
            statistics first; None keeps those of the model.
        attack: what is done to the images; None leaves them.
        first: number of the first of these clients in the federation.
        shared_calibration: rows of the training set from which to estimate statistics that all clients share.
        statistics: what was estimated from them: of every level the entries of each mix group.
        rounds: how many rounds the server has trained (`Engine.evaluate` sets it).
    """

    widths: tuple[float, ...]
    split: str
    batches: Sequence[Sequence[Tensor]]
    calibration: Sequence[Sequence[Tensor]] | None = None
    attack: Attack | None = None
    first: int = 0
    shared_calibration: Tensor | None = None
    statistics: Sequence[Sequence[Tensors]] | None = None
    rounds: int = 0

    @property
    @abstractmethod
    def levels(self) -> tuple[float, ...]:
        """The levels of robustness of the models."""

    def prepared(self, method: Method, state: ServerState, train: ImageSet, dtype: torch.dtype) -> Self:
        """The same with the statistics that all clients share estimated, once for all its parts."""
        if self.shared_calibration is None or self.statistics is not None:
            return self
        groups, rows = method.mix_groups(state.tensors, self.widths, self.rounds), self.shared_calibration
        statistics = [
            shared_statistics(groups, train.images, rows, adv_lambda=level, dtype=dtype) for level in self.levels
        ]
        return replace(self, statistics=statistics)

    def parts(self, method: Method, clients: bool, most: int) -> list[Self]:
        """Up to `most` tasks of neighbouring clients.

        Clients whose images are attacked in one call stay together, so that an attack's draws do not depend on `most`.
        """
        starts = list(range(len(self.batches)))
        if self.attack is not None and attackable_together(method.server_network, clients, self.calibration):
            starts = chunk_starts(self.batches, self.attack.images_per_call)
        count = min(len(starts), most)
        bounds = [*(starts[len(starts) * part // count] for part in range(count)), len(self.batches)]
        return [self.part(low, high) for low, high in pairwise(bounds)]

    def part(self, low: int, high: int) -> Self:
        """The same for the clients `low` up to `high`."""
        calibration = None if self.calibration is None else self.calibration[low:high]
        return replace(self, batches=self.batches[low:high], calibration=calibration, first=self.first + low)

    def run(
        self,
        method: Method,
        state: ServerState,
        train: ImageSet,
        test: ImageSet,
        batches_per_pass: int,
        dtype: torch.dtype,
        seed: int,
        free_memory: Callable[[], None] = lambda: None,
    ) -> Result:
        """Measure in this process.

        Args:
            method, state: the federation whose models are evaluated.
            train, test: the two splits, on the device.
            batches_per_pass: batches that go through the network in one pass (one when attacked).
            dtype: of parameters and images.
            seed: of the attack's draws.
            free_memory: called where an attack ran out of memory, before it goes on in smaller pieces.
        """
        return self.measured(
            Measuring(
                groups=method.mix_groups(state.tensors, self.widths, self.rounds),
                images=train if self.split == "train" else test,
                calibration=None if self.calibration is None else (train.images, self.calibration),
                statistics=self.prepared(method, state, train, dtype).statistics,
                clients={name: value[self.first :] for name, value in state.local.items()},
                batches_per_pass=batches_per_pass,
                dtype=dtype,
                seed=seed,
                free_memory=free_memory,
            )
        )

    @abstractmethod
    def measured(self, given: Measuring) -> Result:
        """The result, measured in this process."""

    @abstractmethod
    def joined(self, parts: Sequence[Result]) -> Result:
        """The result of all clients, from those of the task's parts, in order."""


@dataclass(frozen=True, kw_only=True)
class EvaluationTask(ClientsTask[Accuracy]):
    """Accuracy of some clients at some widths and one level of robustness.

    Attributes:
        adv_lambda: level of robustness.
        predictions: also give the predictions of every image.
        present: for them, bool `[clients, classes]`, the classes that each client has training images of; None are all.
        mix: how base models' logits are joined, one of `JOINS`.
    """

    adv_lambda: float = 0.0
    predictions: bool = False
    present: Tensor | None = None
    mix: str = MEAN

    def part(self, low: int, high: int) -> EvaluationTask:
        part = super().part(low, high)
        return part if self.present is None else replace(part, present=self.present[low:high])

    @property
    def levels(self) -> tuple[float, ...]:
        return (self.adv_lambda,)

    def measured(self, given: Measuring) -> Accuracy:
        statistics = None if given.statistics is None else given.statistics[0]
        if self.attack is None:
            return evaluate(
                given.groups, given.images, self.batches,
                adv_lambda=self.adv_lambda, calibration=given.calibration, clients=given.clients,
                batches_per_pass=given.batches_per_pass, dtype=given.dtype,
                statistics=statistics, predictions=self.predictions, mix=self.mix, present=self.present,
            )  # fmt: skip
        return evaluate_attacked(
            given.groups, given.images, self.batches, self.attack,
            adv_lambda=self.adv_lambda, calibration=given.calibration, statistics=statistics, clients=given.clients,
            dtype=given.dtype, seed=given.seed, first=self.first, free_memory=given.free_memory,
            predictions=self.predictions, mix=self.mix, present=self.present,
        )  # fmt: skip

    def joined(self, parts: Sequence[Accuracy]) -> Accuracy:
        return of_parts(parts)
