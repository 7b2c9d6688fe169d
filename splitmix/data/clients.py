"""What a client of a federation has, what a partition is, and how rows become clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from splitmix.data.dataset import Dataset
from splitmix.errors import UserError


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
    ) -> tuple[ClientData, ...]:
        """Every client's images, clients listed domain by domain (UserError: too few images)."""
        ...


def domain_clients(
    number: int, domain: str, rows: Sequence[Tensor], tests: Sequence[Tensor], val_fraction: float
) -> list[ClientData]:
    """The clients of domain `number`, the last `val_fraction` of each one's `rows` for validation.

    Raises:
        UserError: a client with fewer than two train or validation images.
    """
    clients = []
    for index, (client_rows, test) in enumerate(zip(rows, tests, strict=True)):
        count = client_rows.shape[0]  # `len` of a tensor is slow, and there may be 100,000 clients
        n_val = int(count * val_fraction)
        n_train = count - n_val
        if n_train < 2 or n_val < 2:
            raise UserError(
                f"val_fraction={val_fraction:g} leaves client {number}-{index} {n_train} train and {n_val}"
                " validation images: give each at least 2, or raise partition.min_samples"
            )
        clients.append(ClientData(f"{number}-{index}", domain, client_rows[:n_train], client_rows[n_train:], test))
    return clients


def even_counts(total: int, parts: int, generator: np.random.Generator) -> list[int]:
    """Equal counts that add up to `total`; each of the left-over items goes to a part drawn at random."""
    counts = [total // parts] * parts
    for part in generator.integers(parts, size=total % parts):
        counts[part] += 1
    return counts


def contiguous(start: int, counts: Sequence[int]) -> list[Tensor]:
    """Consecutive index ranges of these lengths, the first from `start`."""
    bounds = np.cumsum([start, *counts]).tolist()
    return [torch.arange(low, high) for low, high in pairwise(bounds)]
