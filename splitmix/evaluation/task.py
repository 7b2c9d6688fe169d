"""What is to be evaluated, as a value that can be cut up by clients and handed to a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.data.dataset import ImageSet
from splitmix.evaluation.accuracy import Accuracy, evaluate, shared_statistics
from splitmix.evaluation.robust import IMAGES_PER_ATTACK, attackable_together, chunk_starts, evaluate_attacked
from splitmix.models.network import Tensors
from splitmix.robustness.attacks import Attack


@dataclass(frozen=True)
class EvaluationTask:
    """Accuracy of some clients at some widths.

    Attributes:
        widths: the widths.
        split: `train` (validation images are rows of it) or `test`.
        batches: rows of the split, per client, batch by batch.
        calibration: rows of the training set, per client, batch by batch, from which to estimate batch-normalisation
            statistics first; None keeps those of the model.
        adv_lambda: level of robustness.
        attack: what is done to the images; None leaves them.
        first: number of the first of these clients in the federation.
        shared_calibration: rows of the training set from which to estimate statistics that all clients share.
        statistics: what was estimated from them.
        rounds: how many rounds the server has trained (`Engine.evaluate` sets it).
        predictions: also give the predictions of every image.
    """

    widths: tuple[float, ...]
    split: str
    batches: Sequence[Sequence[Tensor]]
    calibration: Sequence[Sequence[Tensor]] | None = None
    adv_lambda: float = 0.0
    attack: Attack | None = None
    first: int = 0
    shared_calibration: Tensor | None = None
    statistics: Sequence[Tensors] | None = None
    rounds: int = 0
    predictions: bool = False

    def prepared(self, method: Method, state: ServerState, train: ImageSet, dtype: torch.dtype) -> EvaluationTask:
        """The same with the statistics that all clients share estimated, once for all its parts."""
        if self.shared_calibration is None or self.statistics is not None:
            return self
        statistics = shared_statistics(
            method.mix_groups(state.tensors, self.widths, self.rounds), train.images, self.shared_calibration,
            adv_lambda=self.adv_lambda, dtype=dtype,
        )  # fmt: skip
        return replace(self, statistics=statistics)

    def parts(self, method: Method, clients: bool, most: int) -> list[EvaluationTask]:
        """Up to `most` tasks of neighbouring clients.

        Clients whose images are attacked in one call stay together, so that an attack's draws do not depend on `most`.
        """
        starts = list(range(len(self.batches)))
        if self.attack is not None and attackable_together(method.server_network, clients, self.calibration):
            starts = chunk_starts(
                [sum(len(rows) for rows in client_batches) for client_batches in self.batches], IMAGES_PER_ATTACK
            )
        count = min(len(starts), most)
        bounds = [*(starts[len(starts) * part // count] for part in range(count)), len(self.batches)]
        return [self.part(low, high) for low, high in pairwise(bounds)]

    def part(self, low: int, high: int) -> EvaluationTask:
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
    ) -> Accuracy:
        """Evaluate in this process.

        Args:
            method, state: the federation whose models are evaluated.
            train, test: the two splits, on the device.
            batches_per_pass: batches that go through the network in one pass (one when attacked).
            dtype: of parameters and images.
            seed: of the attack's draws.
            free_memory: called where an attack ran out of memory, before it goes on in smaller pieces.
        """
        images = train if self.split == "train" else test
        calibration = None if self.calibration is None else (train.images, self.calibration)
        clients = {name: value[self.first :] for name, value in state.local.items()}
        groups = method.mix_groups(state.tensors, self.widths, self.rounds)
        statistics = self.prepared(method, state, train, dtype).statistics
        if self.attack is None:
            return evaluate(
                groups, images, self.batches,
                adv_lambda=self.adv_lambda, calibration=calibration, clients=clients,
                batches_per_pass=batches_per_pass, dtype=dtype,
                statistics=statistics, predictions=self.predictions,
            )  # fmt: skip
        return evaluate_attacked(
            groups, images, self.batches, self.attack,
            adv_lambda=self.adv_lambda, calibration=calibration, statistics=statistics, clients=clients, dtype=dtype,
            seed=seed, first=self.first, free_memory=free_memory, predictions=self.predictions,
        )  # fmt: skip
