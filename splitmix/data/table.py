"""Images that a table lists, one per row: the order of their labels, domains and splits as a dataset has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from splitmix.errors import UserError
from splitmix.printing import excerpt
from splitmix.randomness import rng

Rows = NDArray[np.int64]
SPLITS = ("train", "test")
ONE_DOMAIN = "all"
"""What the domain is called where none is named."""


@dataclass(frozen=True)
class Table:
    """Labels, domains and splits of the rows of a table.

    Attributes:
        where: what the table is called in messages.
        labels: the class of each row, a name or a number in text.
        domains: the domain of each row; empty for a single one.
        splits: `train` or `test` for each row; empty if a share of the rows is to be set aside for testing.
        test_fraction: share of every class of every domain to set aside, where there are no splits.
        names: all classes in their order; empty for those of the labels, sorted.
    """

    where: str
    labels: Sequence[str]
    domains: Sequence[str] = ()
    splits: Sequence[str] = ()
    test_fraction: float = 0.2
    names: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: numbers in their order, other names in that of the alphabet."""
        labels = set(self.labels)
        numbers = all(label.isascii() and label.isdecimal() for label in labels)
        return self.names or tuple(sorted(labels, key=(lambda label: (int(label), label)) if numbers else None))

    @cached_property
    def domain_names(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.domains))) or (ONE_DOMAIN,)

    def check(self) -> None:
        """Raise UserError if rows, classes or splits are missing, a name cannot be shown, or a share is none."""
        if not self.labels:
            raise UserError(f"{self.where}: holds no image")
        if len(self.classes) < 2:
            raise UserError(f"{self.where}: at least two classes are needed, found {len(self.classes)}")
        for what, names in (("class", self.classes), ("domain", self.domain_names)):
            for name in names:
                if not name or not name.isprintable():
                    raise UserError(f"{self.where}: a {what} is called {excerpt(repr(name))}; give it a printable name")
        for row, label in enumerate(self.labels):
            if label not in self.index:
                raise UserError(f"{self.where}: row {row + 1} has the class {excerpt(label)}, which is not known")
        for row, split in enumerate(self.splits):
            if split not in SPLITS:
                raise UserError(f"{self.where}: row {row + 1} has the split {excerpt(split)}: write train or test")
        _ = self.rows

    @cached_property
    def index(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    @cached_property
    def rows(self) -> dict[tuple[str, str], Rows]:
        """The rows of each split and domain, mixed, `train` first (UserError: a domain without images of a split)."""
        places = {name: number for number, name in enumerate(self.domain_names)}
        owner = np.array([places[name] for name in self.domains] or [0] * len(self.numbers))
        if self.splits:
            tested = np.array([split == "test" for split in self.splits])
            parts = tuple(
                [mixed(np.flatnonzero((owner == number) & of_split), number) for number in range(len(places))]
                for of_split in (~tested, tested)
            )
        else:
            parts = set_aside(self.numbers, owner, self.domain_names, self.test_fraction, 0, "dataset.test_fraction")
        chosen = {}
        for split, part in zip(SPLITS, parts, strict=True):
            for name, rows in zip(self.domain_names, part, strict=True):
                if not len(rows):
                    raise UserError(f"{self.where}: the domain {name} has no {split} image")
                chosen[split, name] = rows
        return chosen

    @cached_property
    def numbers(self) -> Rows:
        """The class index of each row."""
        return np.array([self.index[label] for label in self.labels], np.int64)


def set_aside(
    labels: Rows, owner: Rows, domains: Sequence[str], share: float, seed: int, key: str
) -> tuple[list[Rows], list[Rows]]:
    """The rows for training and for testing, domain by domain, mixed.

    Args:
        labels: the class index of each row.
        owner: the number of each row's domain.
        domains: the names of the domains.
        share: of every class of every domain, for testing.
        key: what the share is called in messages.

    Raises:
        UserError: a share that is none, or a domain with too few images.
    """
    if not 0 < share < 1:
        raise UserError(f"{key}={share}: give a share between 0 and 1")
    splits: tuple[list[Rows], list[Rows]] = ([], [])
    for number, name in enumerate(domains):
        rows = mixed(np.flatnonzero(owner == number), number, seed)
        test = stratified(labels[rows], share)
        if test.all() or not test.any():
            raise UserError(
                f"domains: {name} has {len(rows)} images, too few to set {key}={share:g} of each class aside; give"
                " more images or another share"
            )
        splits[0].append(rows[~test])
        splits[1].append(rows[test])
    return splits


def mixed(rows: Rows, domain: int, seed: int = 0) -> Rows:
    """The rows of a domain in random order: classes often follow one another, and clients are cut contiguously."""
    return rng(seed, "from_arrays", domain).permutation(rows)


def stratified(labels: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Which of the rows are for testing: of every class the first `share`, rounded, and one at least of two or more."""
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(share * len(rows)), 1), len(rows) - 1)
        test[rows[:count]] = True
    return test
