"""The partition `label_dirichlet`: label skew, each class shared among clients in Dirichlet proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from splitmix.binding import shown
from splitmix.data.client_list import Clients, DomainClients, domain_clients
from splitmix.data.dataset import Dataset
from splitmix.data.partition_tools import MIN_TEST, apportion, check_enough, class_sizes, domain_rows, share_classes
from splitmix.errors import UserError
from splitmix.randomness import rng

DRAWS = 100


@dataclass(frozen=True)
class LabelDirichlet:
    """Settings of `partition=label_dirichlet`: every class is shared among a domain's clients by Dirichlet(alpha).

    Not in the Split-Mix paper: the label skew of Yurochkin et al. (ICML 2019, arXiv 1905.12022), within each domain.

    Attributes:
        alpha: concentration, above 0 and up to 1e6 (all but even); the smaller, the fewer classes a client has.
        min_samples: the fewest train and validation images of a client, together; proportions are redrawn for it.
    """

    name: ClassVar[str] = "label_dirichlet"
    masked_loss: ClassVar[bool] = True
    fixed_steps: ClassVar[bool] = False

    alpha: float = 0.5
    min_samples: int = 16

    def split(
        self, dataset: Dataset, clients_per_domain: int, train_fraction: float, val_fraction: float, seed: int
    ) -> Clients:
        """Share every class of every domain among its clients, the test set in the same proportions as the train set.

        Raises:
            UserError: `alpha` out of range, too few images for so many clients, no draw that gives every client enough,
                or a split that would be empty.
        """
        # Far beyond the upper bound, NumPy's draws overflow and no longer add up to 1.
        if not 0 < self.alpha <= 1e6:
            raise UserError(f"partition.alpha={shown(self.alpha)}: give a number above 0 and up to 1e6")
        domain_lists: list[DomainClients] = []
        for number, domain in enumerate(dataset.domains):
            train_rows = domain_rows(dataset.train, number, train_fraction)
            test_rows = domain_rows(dataset.test, number)
            sizes = len(train_rows), len(test_rows)
            check_enough(domain, sizes, clients_per_domain, train_fraction, self.min_samples)
            train_counts, test_counts = self._counts(
                class_sizes(dataset.train.labels, train_rows, len(dataset.classes)),
                class_sizes(dataset.test.labels, test_rows, len(dataset.classes)),
                clients_per_domain,
                seed,
                number,
            )
            generator = rng(seed, "partition", "label_dirichlet", "shuffle", number)
            rows = share_classes(dataset.train.labels, train_rows, train_counts, generator)
            tests = share_classes(dataset.test.labels, test_rows, test_counts, generator)
            domain_lists.append(domain_clients(number, domain, rows, tests, val_fraction))
        return Clients(domain_lists)

    def _counts(
        self, train: NDArray[np.int64], test: NDArray[np.int64], clients: int, seed: int, number: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Train and test images of each class for each client, `[classes, clients]`, redrawn until all have enough."""
        generator = rng(seed, "partition", "label_dirichlet", "draw", number)
        for _ in range(DRAWS):
            shares = generator.dirichlet(np.full(clients, self.alpha), size=len(train))
            counts, tests = (
                np.stack([apportion(int(n), share) for n, share in zip(sizes, shares, strict=True)])
                for sizes in (train, test)
            )
            n_train, n_test = counts.sum(axis=0), tests.sum(axis=0)
            if n_train.min() >= self.min_samples and n_test.min() >= MIN_TEST:
                return counts, tests
        # The client that is furthest from what it needs, of train or of test images.
        smallest = int(np.minimum(n_train / self.min_samples, n_test / MIN_TEST).argmin())
        raise UserError(
            f"partition.alpha={shown(self.alpha)}: after {DRAWS} draws client {number}-{smallest} still has"
            f" {n_train[smallest]} train and validation and {n_test[smallest]} test images, and needs"
            f" {self.min_samples} and {MIN_TEST}; give a larger alpha, a smaller partition.min_samples or fewer"
            " clients_per_domain"
        )
