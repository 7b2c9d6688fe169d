"""What the uneven partitions share: rows of a domain, rounding, sharing out classes, and the checks of a client."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmix.data.dataset import ImageSet
from splitmix.errors import UserError

MIN_TEST = 2  # a test set of one image cannot be batch-normalised


def domain_rows(images: ImageSet, number: int, fraction: float = 1.0) -> Tensor:
    """The first `fraction` of the rows of domain `number`, in file order; int64."""
    rows = images.domain_slice(number)
    return torch.arange(rows.start, rows.start + int(images.counts[number] * fraction))


def class_sizes(labels: Tensor, rows: Tensor, classes: int) -> NDArray[np.int64]:
    """How many of `rows` each class has: `[classes]`."""
    return torch.bincount(labels[rows], minlength=classes).numpy()


def apportion(total: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """`total` items in proportion to `shares` (which add up to 1), by largest remainders: exact in sum."""
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    # Stable, so that equal remainders fall the same way on every machine.
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def share_classes(
    labels: Tensor, rows: Tensor, counts: NDArray[np.int64], generator: np.random.Generator
) -> list[Tensor]:
    """The rows of every client when client `j` gets `counts[c, j]` of the rows of class `c`.

    Rows of a class are taken in file order; those beyond the counts stay unused. Each client's rows are then shuffled
    once: batch-norm in `batch` mode needs batches of all its classes, and the cut into train and validation too.

    Args:
        labels: int64, of the whole split.
        rows: int64, the rows of the domain.
        counts: `[classes, clients]`.
    """
    taken: list[list[Tensor]] = [[] for _ in range(counts.shape[1])]
    present = labels[rows]
    for label, client_counts in enumerate(counts.tolist()):
        of_class = rows[present == label][: sum(client_counts)]
        for client, part in zip(taken, of_class.split(client_counts), strict=True):
            client.append(part)
    return [part[torch.from_numpy(generator.permutation(len(part)))] for part in map(torch.cat, taken)]


def check_enough(
    domain: str, sizes: tuple[int, int], clients_per_domain: int, train_fraction: float, min_samples: int
) -> None:
    """Refuse more clients than the train and test images of a domain (`sizes`) can serve at the minimum.

    Raises:
        UserError: too few images, or `min_samples` below 1.
    """
    if min_samples < 1:
        raise UserError(f"partition.min_samples={min_samples}: give at least 1")
    train, test = sizes
    if train < min_samples * clients_per_domain or test < MIN_TEST * clients_per_domain:
        raise UserError(
            f"clients_per_domain={clients_per_domain}: domain {domain} has {train} train images (train_fraction="
            f"{train_fraction:g}) and {test} test images, too few to give every client {min_samples} and {MIN_TEST};"
            " ask for fewer clients, a larger train_fraction or a smaller partition.min_samples"
        )
