"""What a client of a federation has, what a partition is, and how rows become clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor

from splitmix.data.dataset import Dataset


@dataclass(frozen=True)
class ClientData:
    """One client's images, as row indices into the dataset's splits.

    Attributes:
        id: `<domain index>-<index within the domain>`.
        domain: name of the client's domain.
        train, val: int64 rows of `dataset.train`; test: int64 rows of `dataset.test`.
    """

    id: str
    domain: str
    train: Tensor
    val: Tensor
    test: Tensor


class Partition(Protocol):
    """The settings of one option of the config group `partition`.

    Attributes:
        masked_loss: the loss ignores the classes absent from a batch (label-skewed clients).
        fixed_steps: sizes differ much, so every client does equally many steps per round.
    """

    masked_loss: ClassVar[bool]
    fixed_steps: ClassVar[bool]

    def split(
        self, dataset: Dataset, clients_per_domain: int, train_fraction: float, val_fraction: float, seed: int
    ) -> Sequence[ClientData]:
        """Every client's images, clients listed domain by domain (UserError: too few images)."""
        ...


def even_counts(total: int, parts: int, generator: np.random.Generator) -> list[int]:
    """Equal counts that add up to `total`; each of the left-over items goes to a part drawn at random."""
    counts = [total // parts] * parts
    for part in generator.integers(parts, size=total % parts):
        counts[part] += 1
    return counts
