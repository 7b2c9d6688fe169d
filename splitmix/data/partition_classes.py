"""The partition `classes`: label skew, every client with a few classes only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from splitmix.data.client_list import Clients, DomainClients, domain_clients
from splitmix.data.clients import even_counts
from splitmix.data.dataset import Dataset
from splitmix.data.partition_tools import MIN_TEST, check_enough, class_sizes, domain_rows, share_classes
from splitmix.errors import UserError
from splitmix.randomness import rng


@dataclass(frozen=True)
class Classes:
    """Settings of `partition=classes`: every client has images of exactly so many classes.

    Differs from the authors' code, which sometimes deals a client one class twice and draws validation images that are
    also trained on.

    Attributes:
        classes_per_client: distinct classes of a client.
        consistent_test_classes: a client is tested on its train classes; otherwise test classes are dealt anew.
        min_samples: the fewest train and validation images a client may end up with, all its classes together.
    """

    name: ClassVar[str] = "classes"
    masked_loss: ClassVar[bool] = True
    fixed_steps: ClassVar[bool] = False

    classes_per_client: int = 3
    consistent_test_classes: bool = False
    min_samples: int = 16

    def split(
        self, dataset: Dataset, clients_per_domain: int, train_fraction: float, val_fraction: float, seed: int
    ) -> Clients:
        """Deal the classes of every domain to its clients and share out each class evenly among those that hold it.

        Images of a class that no client holds stay unused. A client's validation images are drawn from its own and are
        not trained on.

        Raises:
            UserError: more classes per client than there are, a dealt class with too few images in a domain, a client
                with too few images, or a split that would be empty.
        """
        if not 1 <= self.classes_per_client <= len(dataset.classes):
            raise UserError(
                f"partition.classes_per_client={self.classes_per_client}: dataset {dataset.name} has"
                f" {len(dataset.classes)} classes; give 1 to {len(dataset.classes)}"
            )
        domain_lists: list[DomainClients] = []
        for number, domain in enumerate(dataset.domains):
            parts = []
            train_rows = domain_rows(dataset.train, number, train_fraction)
            test_rows = domain_rows(dataset.test, number)
            sizes = len(train_rows), len(test_rows)
            check_enough(domain, sizes, clients_per_domain, train_fraction, self.min_samples)
            for split, labels, rows, minimum in (
                ("train", dataset.train.labels, train_rows, self.min_samples),
                ("test", dataset.test.labels, test_rows, MIN_TEST),
            ):
                cards = "train" if self.consistent_test_classes else split
                dealt = deal_classes(
                    len(dataset.classes),
                    clients_per_domain,
                    self.classes_per_client,
                    rng(seed, "partition", "classes", f"{cards} deck", number),
                )
                sizes_of = class_sizes(labels, rows, len(dataset.classes))
                generator = rng(seed, "partition", "classes", split, number)
                counts = self._counts(sizes_of, dealt, generator, dataset, f"the {split} set of domain {domain}")
                smallest = int(counts.sum(axis=0).argmin())
                size = int(counts[:, smallest].sum())
                if size < minimum:
                    kind = "train and validation" if split == "train" else "test"
                    raise UserError(
                        f"clients_per_domain={clients_per_domain}: client {number}-{smallest} gets only {size} {kind}"
                        f" images of its {self.classes_per_client} classes, and needs {minimum}; ask for fewer"
                        " clients, a larger train_fraction or a smaller partition.min_samples"
                    )
                parts.append(share_classes(labels, rows, counts, generator))
            domain_lists.append(domain_clients(number, domain, parts[0], parts[1], val_fraction))
        return Clients(domain_lists)

    def _counts(
        self,
        sizes: NDArray[np.int64],
        dealt: list[list[int]],
        generator: np.random.Generator,
        dataset: Dataset,
        where: str,
    ) -> NDArray[np.int64]:
        """Images of each class for each client, `[classes, clients]`."""
        counts = np.zeros((len(sizes), len(dealt)), dtype=np.int64)
        for label, size in enumerate(sizes.tolist()):
            holders = [client for client, labels in enumerate(dealt) if label in labels]
            if size < len(holders):
                # A client that got none of a class would not have exactly `classes_per_client` of them.
                raise UserError(
                    f"partition.classes_per_client={self.classes_per_client}: class {dataset.classes[label]} is dealt"
                    f" to {len(holders)} clients but has {size or 'no'} images in {where}; ask for fewer classes, fewer"
                    " clients_per_domain or a larger train_fraction, or take the class out of the dataset"
                )
            if holders:
                counts[label, holders] = even_counts(size, len(holders), generator)
        return counts


def deal_classes(classes: int, clients: int, each: int, generator: np.random.Generator) -> list[list[int]]:
    """`each` distinct classes for every client, from a shuffled deck of all classes, reshuffled when exhausted.

    A card that a client already has is put aside; the next client that can take it gets it before any new one.
    """
    deck: list[int] = []
    aside: list[int] = []
    hands: list[list[int]] = []
    for _ in range(clients):
        hand: list[int] = []
        for card in aside.copy():
            if len(hand) < each and card not in hand:
                aside.remove(card)
                hand.append(card)
        # Ends within one whole deck, since that has every class.
        while len(hand) < each:
            deck = deck or generator.permutation(classes).tolist()
            card = deck.pop()
            (aside if card in hand else hand).append(card)
        hands.append(hand)
    return hands
