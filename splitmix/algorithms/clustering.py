"""A rule of aggregation by the directions of the clients' changes: liars may agree with each other alone.

ClippedClustering: Li, Ngai, Voigt, "An Experimental Study of Byzantine-Robust Aggregation Schemes in Federated
Learning", IEEE Transactions on Big Data 2023, after Sattler, Müller, Wiegand, Samek, "On the Byzantine Robustness of
Clustered Federated Learning", ICASSP 2020. Clients are told apart by the directions of their changes, not by their
lengths. Theirs clips at the median norm of all rounds so far, ours at that of the round: a rule has no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from splitmix.algorithms.aggregation import Rule, clipped, lengths

DECIMALS = 9
"""Distances that agree to so many decimals are equal, so that rounding decides nothing."""


@dataclass(frozen=True)
class ClippedClustering(Rule):
    """`aggregation=clustering`: the mean change of the larger of two groups of clients, cut to the median norm.

    The groups come from joining, again and again, the two with the smallest mean cosine distance between their members.
    Clients weigh alike. Of two groups of one size, that of the client with the lowest number.
    """

    name: ClassVar[str] = "clustering"

    def fewest(self) -> int:
        return 3

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        changes = (updates - server).double()
        directions = changes / lengths(changes)
        kept = larger_group(1 - directions @ directions.T)
        return (server.double() + clipped(changes)[kept].mean(0)).to(updates.dtype)


def larger_group(distances: Tensor) -> list[int]:
    """Numbers of the larger of two groups, by average linkage; `distances` `[n, n]`."""
    groups = [[number] for number in range(len(distances))]
    sums, sizes = distances.clone(), torch.ones(len(distances), dtype=distances.dtype)
    while len(groups) > 2:
        means = (sums / sizes.outer(sizes)).mul(10**DECIMALS).round()
        above = torch.ones_like(means, dtype=torch.bool).triu(1)
        first, second = divmod(int(means.masked_fill(~above, torch.inf).argmin()), len(groups))
        groups[first] += groups.pop(second)
        sums[first] += sums[second]
        sums[:, first] += sums[:, second]
        sizes[first] += sizes[second]
        rest = [number for number in range(len(sizes)) if number != second]
        sums, sizes = sums[rest][:, rest], sizes[rest]
    larger = max(groups, key=len)
    return sorted(larger)
