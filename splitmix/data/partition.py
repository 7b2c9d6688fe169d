"""Cutting the domains of a dataset into clients: which image belongs to which client and split."""

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
from splitmix.randomness import rng


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


@dataclass(frozen=True)
class Uniform:
    """Settings of `partition=uniform`: equally many images for every client.

    Attributes:
        min_samples: the fewest train and validation images a client may end up with.
    """

    name: ClassVar[str] = "uniform"
    masked_loss: ClassVar[bool] = False
    fixed_steps: ClassVar[bool] = False

    min_samples: int = 16

    def split(
        self, dataset: Dataset, clients_per_domain: int, train_fraction: float, val_fraction: float, seed: int
    ) -> tuple[ClientData, ...]:
        """Cut every domain into clients, contiguously in file order, each client's train images before its validation.

        The train set of every domain is first cut to the smallest domain's size, then to `train_fraction`. Counts are
        equal; each image left over goes to a client drawn at random. Test sets are cut the same way.

        Raises:
            UserError: too few images for so many clients, or a split that would be empty.
        """
        if self.min_samples < 1:
            raise UserError(f"partition.min_samples={self.min_samples}: give at least 1")
        size = int(min(dataset.train.counts) * train_fraction)
        clients: list[ClientData] = []
        for number, domain in enumerate(dataset.domains):
            train_start = dataset.train.domain_slice(number).start
            test_start = dataset.test.domain_slice(number).start
            train_counts = even_counts(size, clients_per_domain, rng(seed, "partition", "train", number))
            test_counts = even_counts(
                dataset.test.counts[number], clients_per_domain, rng(seed, "partition", "test", number)
            )
            if min(train_counts) < self.min_samples or min(test_counts) < 2:
                raise UserError(
                    f"clients_per_domain={clients_per_domain}: domain {domain} has {size} train images (train_fraction="
                    f"{train_fraction:g}) and {dataset.test.counts[number]} test images, too few to give every client"
                    f" {self.min_samples} and 2; ask for fewer clients or a larger train_fraction"
                )
            trains = contiguous(train_start, train_counts)
            tests = contiguous(test_start, test_counts)
            for index, (rows, test) in enumerate(zip(trains, tests, strict=True)):
                n_val = int(len(rows) * val_fraction)
                train, val = rows[: len(rows) - n_val], rows[len(rows) - n_val :]
                if len(train) < 2 or len(val) < 2:
                    raise UserError(
                        f"val_fraction={val_fraction:g} leaves client {number}-{index} {len(train)} train and"
                        f" {len(val)} validation images: give each at least 2"
                    )
                clients.append(ClientData(f"{number}-{index}", domain, train, val, test))
        return tuple(clients)


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
