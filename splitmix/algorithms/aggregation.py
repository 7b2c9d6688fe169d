"""Rules by which the server merges the clients' versions of a base model, for clients that may lie.

Median and trimmed mean: Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning", ICML 2018 (arXiv
1803.01498). Krum and multi-Krum: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries", NeurIPS
2017 (arXiv 1703.02757). Bulyan: El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in
Byzantium", ICML 2018 (arXiv 1802.07927). Norm clipping: Sun, Kairouz, Suresh, McMahan, 2019 (arXiv 1911.07963).

A rule sees all entries of a base model (statistics too) as one vector. All but the mean and norm clipping ignore how
many images a client has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from splitmix.binding import shown
from splitmix.errors import UserError


class Aggregation(Protocol):
    """The settings of one option of the config group `aggregation`."""

    @property
    def name(self) -> str: ...

    def check(self) -> None: ...

    def fewest(self) -> int:
        """Clients of one base model that the rule needs for what it promises."""
        ...

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        """The next base model `[P]`.

        Args:
            updates: what each client trained, `[clients, P]`.
            weights: of the clients.
            server: what they started from, `[P]`.
            classifier: which entries belong to the network's last layer, bool `[P]`.
        """
        ...


@dataclass(frozen=True)
class Rule:
    """What the rules share."""

    def check(self) -> None:
        """Nothing can be wrong."""

    def fewest(self) -> int:
        return 1


@dataclass(frozen=True)
class Mean(Rule):
    """`aggregation=mean`: the weighted mean."""

    name: ClassVar[str] = "mean"

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        return weights @ updates / weights.sum()


@dataclass(frozen=True)
class Median(Rule):
    """`aggregation=median`: of every entry; of an even number of clients the mean of the two in the middle."""

    name: ClassVar[str] = "median"

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        return middle(updates.sort(0).values)


@dataclass(frozen=True)
class TrimmedMean(Rule):
    """`aggregation=trimmed_mean`: of every entry without its largest and smallest values.

    Attributes:
        trim: share of the clients cut off at either end, rounded up to whole clients; above 0 and below 0.5.
    """

    name: ClassVar[str] = "trimmed_mean"

    trim: float = 0.1

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if not 0 < self.trim < 0.5:
            raise UserError(f"aggregation.trim={shown(self.trim)}: give a share above 0 and below 0.5")

    def cut(self, clients: int) -> int:
        """Clients cut off at either end."""
        return -int(-self.trim * clients // 1)

    def fewest(self) -> int:
        return next(clients for clients in range(3, 10**6) if 2 * self.cut(clients) < clients)

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        cut = self.cut(len(updates))
        return updates.sort(0).values[cut : len(updates) - cut].mean(0)


@dataclass(frozen=True)
class Krum(Rule):
    """`aggregation=krum`: the update with the smallest sum of squared distances to its n - f - 2 nearest neighbours.

    Of equal ones, that of the client with the lowest number.

    Attributes:
        attackers: f, the clients of a base model that may lie, at least 1.
    """

    name: ClassVar[str] = "krum"

    attackers: int = 1

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if self.attackers < 1:
            raise UserError(f"aggregation.attackers={self.attackers}: give at least 1")

    def fewest(self) -> int:
        return 2 * self.attackers + 3

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        return updates[int(scores(squared_distances(updates), self.attackers).argmin())]


@dataclass(frozen=True)
class MultiKrum(Krum):
    """`aggregation=multi_krum`: the mean of the updates with the smallest scores.

    Attributes:
        attackers: see `Krum`.
        keep: updates averaged; None keeps n - f - 2.
    """

    name: ClassVar[str] = "multi_krum"

    keep: int | None = None

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        super().check()
        if self.keep is not None and self.keep < 1:
            raise UserError(f"aggregation.keep={self.keep}: give at least 1, or null")

    def fewest(self) -> int:
        return max(super().fewest(), (self.keep or 0) + self.attackers + 2)

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        order = scores(squared_distances(updates), self.attackers).argsort(stable=True)
        return updates[order[: self.keep or len(updates) - self.attackers - 2]].mean(0)


@dataclass(frozen=True)
class Bulyan(Krum):
    """`aggregation=bulyan`: Krum chooses n - 2 f updates one by one; of each entry the n - 4 f chosen values nearest to
    their median are averaged.

    Attributes:
        attackers: see `Krum`.
    """

    name: ClassVar[str] = "bulyan"

    def fewest(self) -> int:
        return 4 * self.attackers + 3

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        distances, left = squared_distances(updates), list(range(len(updates)))
        chosen: list[int] = []
        while len(chosen) < len(updates) - 2 * self.attackers:
            best = int(scores(distances[left][:, left], self.attackers).argmin())
            chosen.append(left.pop(best))
        values = updates[sorted(chosen)].sort(0).values
        order = (values - middle(values)).abs().argsort(dim=0, stable=True)[: len(chosen) - 2 * self.attackers]
        return values.gather(0, order).mean(0)


@dataclass(frozen=True)
class NormClip(Rule):
    """`aggregation=norm_clip`: the weighted mean of changes that are cut to a largest norm.

    Attributes:
        norm: largest norm of a client's change of a base model, above 0.
    """

    name: ClassVar[str] = "norm_clip"

    norm: float = 1.0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if not 0 < self.norm < float("inf"):
            raise UserError(f"aggregation.norm={shown(self.norm)}: give a norm above 0")

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        changes = updates - server
        return server + weights @ clipped(changes, self.norm) / weights.sum()


def middle(values: Tensor) -> Tensor:
    """The median of sorted values `[n, ...]`; of an even number, the mean of the two in the middle."""
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def squared_distances(updates: Tensor) -> Tensor:
    """`[n, n]`, from differences, so that equal updates are at distance 0."""
    return torch.stack([(updates - one).square().sum(1) for one in updates])


def scores(distances: Tensor, attackers: int) -> Tensor:
    """Krum's score of each update: over its n - f - 2 nearest others, of which at least one counts."""
    n = len(distances)
    nearest = max(1, n - attackers - 2)
    return distances.sort(1).values[:, 1 : nearest + 1].sum(1)  # the first is the update itself


def clipped(changes: Tensor, most: float | None = None) -> Tensor:
    """Changes `[n, P]`, those that are longer cut to the length `most`; None is the median length."""
    length = lengths(changes)
    return changes * ((length.quantile(0.5) if most is None else most) / length).clamp(max=1.0)


def lengths(changes: Tensor) -> Tensor:
    """`[n, 1]`, above 0."""
    return changes.norm(dim=1, keepdim=True).clamp(min=torch.finfo(changes.dtype).tiny)
