"""The partition `dirichlet`: clients of uneven size, all with the classes of their domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from splitmix.data.client_list import Clients, DomainClients, contiguous, domain_clients
from splitmix.data.clients import even_counts
from splitmix.data.dataset import Dataset
from splitmix.data.partition_tools import MIN_TEST, apportion, check_enough, domain_rows
from splitmix.randomness import rng


@dataclass(frozen=True)
class Dirichlet:
    """Settings of `partition=dirichlet`: a client's size is a minimum and a Dirichlet(1) share of the rest.

    Attributes:
        consistent_test_classes: equally many test images for every client, as `partition=uniform` cuts them.
        min_samples: the fewest train and validation images of a client, together.
    """

    name: ClassVar[str] = "dirichlet"
    masked_loss: ClassVar[bool] = False
    fixed_steps: ClassVar[bool] = True

    consistent_test_classes: bool = False
    min_samples: int = 16

    def split(
        self, dataset: Dataset, clients_per_domain: int, train_fraction: float, val_fraction: float, seed: int
    ) -> Clients:
        """Cut every domain into clients, contiguously in file order, each client's train images before its validation.

        Domains keep their own sizes, cut to `train_fraction` only. The test set is cut the same way, with sizes drawn
        on their own and at least two images each.

        Raises:
            UserError: too few images for so many clients, or a split that would be empty.
        """
        domain_lists: list[DomainClients] = []
        for number, domain in enumerate(dataset.domains):
            sizes = len(domain_rows(dataset.train, number, train_fraction)), dataset.test.counts[number]
            check_enough(domain, sizes, clients_per_domain, train_fraction, self.min_samples)
            generator = rng(seed, "partition", "dirichlet", "train", number)
            counts = dirichlet_counts(sizes[0], clients_per_domain, self.min_samples, generator)
            if self.consistent_test_classes:
                # The stream of `uniform`: the two partitions then test on the same images.
                test_counts = even_counts(sizes[1], clients_per_domain, rng(seed, "partition", "test", number))
            else:
                generator = rng(seed, "partition", "dirichlet", "test", number)
                test_counts = dirichlet_counts(sizes[1], clients_per_domain, MIN_TEST, generator)
            rows = contiguous(dataset.train.domain_slice(number).start, counts)
            tests = contiguous(dataset.test.domain_slice(number).start, test_counts)
            domain_lists.append(domain_clients(number, domain, rows, tests, val_fraction))
        return Clients(domain_lists)


def dirichlet_counts(total: int, parts: int, minimum: int, generator: np.random.Generator) -> list[int]:
    """Counts that add up to `total`: `minimum` each and a Dirichlet(1) share of the rest."""
    shares = generator.dirichlet(np.ones(parts))
    return (minimum + apportion(total - minimum * parts, shares)).tolist()
