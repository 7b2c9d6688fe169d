"""What is to be evaluated, as a value that can be cut up by clients and handed to a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splitmix.algorithms.base import ServerState
from splitmix.data.dataset import ImageSet
from splitmix.evaluation.accuracy import Accuracy, evaluate
from splitmix.evaluation.robust import evaluate_attacked
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
        attack: what is done to the images; None leaves them.
        first: number of the first of these clients in the federation.
    """

    widths: tuple[float, ...]
    split: str
    batches: Sequence[Sequence[Tensor]]
    calibration: Sequence[Sequence[Tensor]] | None = None
    attack: Attack | None = None
    first: int = 0

    def part(self, low: int, high: int) -> EvaluationTask:
        """The same for the clients `low` up to `high`."""
        calibration = None if self.calibration is None else self.calibration[low:high]
        return replace(self, batches=self.batches[low:high], calibration=calibration, first=self.first + low)

    def run(
        self, state: ServerState, train: ImageSet, test: ImageSet, together: int, dtype: torch.dtype, seed: int
    ) -> Accuracy:
        """Evaluate in this process.

        Args:
            train, test: the two splits, on the device.
            together: batches that go through the network in one pass (one when attacked).
            dtype: of parameters and images.
            seed: of the attack's draws.
        """
        images = train if self.split == "train" else test
        calibration = None if self.calibration is None else (train.images, self.calibration)
        local = {name: value[self.first :] for name, value in state.local.items()}
        method, tensors = state.method, state.tensors
        if self.attack is None:
            return evaluate(
                method, tensors, self.widths, images, self.batches,
                calibration=calibration, local=local, together=together, dtype=dtype,
            )  # fmt: skip
        return evaluate_attacked(
            method, tensors, self.widths, images, self.batches, self.attack,
            calibration=calibration, local=local, dtype=dtype, seed=seed, first=self.first,
        )  # fmt: skip
