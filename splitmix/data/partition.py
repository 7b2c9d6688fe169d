"""Cutting the domains of a dataset into clients: which image belongs to which client and split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.data.client_list import Clients, DomainClients, contiguous, domain_clients
from splitmix.data.clients import even_counts
from splitmix.data.dataset import Dataset
from splitmix.errors import UserError
from splitmix.randomness import rng


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
    ) -> Clients:
        """Cut every domain into clients, contiguously in file order, each client's train images before its validation.

        The train set of every domain is first cut to the smallest domain's size, then to `train_fraction`. Counts are
        equal; each image left over goes to a client drawn at random. Test sets are cut the same way.

        Raises:
            UserError: too few images for so many clients, or a split that would be empty.
        """
        if self.min_samples < 1:
            raise UserError(f"partition.min_samples={self.min_samples}: give at least 1")
        size = int(min(dataset.train.counts) * train_fraction)
        domain_lists: list[DomainClients] = []
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
            domain_lists.append(domain_clients(number, domain, trains, tests, val_fraction))
        return Clients(domain_lists)
