"""A rule of aggregation by the direction that most clients' last layers share: those who move against it are left out.

Flipped labels give updates that are as long as honest ones and no further away from them, so that rules of lengths and
distances miss them; what they turn is the last layer. As in DnC (Shejwalkar and Houmansadr, "Manipulating the
Byzantine", NDSS 2021) clients are compared with a principal direction. DnC looks for it in the centred updates and
removes those that go furthest along it. Ours is that of the uncentred directions: if most clients are honest, it is
theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from splitmix.algorithms.aggregation import Rule, clipped, lengths
from splitmix.binding import shown
from splitmix.errors import UserError

STEPS, SETTLED = 10_000, 1e-12


@dataclass(frozen=True)
class PrincipalDirection(Rule):
    """`aggregation=principal_direction`: the mean change of the clients that go along with a shared direction, cut to
    the median norm.

    The direction is the first principal one, uncentred, of the changes of the last layer, each of length 1. Clients
    weigh alike.

    Attributes:
        least_cosine: a client whose last layer's change has a smaller cosine with the shared direction is left out;
            from -1 to below 1. Clients that have learned little yet are near 0, so a little below it spares them.
    """

    name: ClassVar[str] = "principal_direction"

    least_cosine: float = -0.05

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if not -1 <= self.least_cosine < 1:
            raise UserError(f"aggregation.least_cosine={shown(self.least_cosine)}: give a number from -1 to below 1")

    def fewest(self) -> int:
        return 3

    def merge(self, updates: Tensor, weights: Tensor, server: Tensor, classifier: Tensor) -> Tensor:
        changes = (updates - server).double()
        cosines = shared_cosines(changes[:, classifier])
        kept = cosines >= min(self.least_cosine, float(cosines.max()))  # never nobody
        return (server.double() + clipped(changes)[kept].mean(0)).to(updates.dtype)


def shared_cosines(changes: Tensor) -> Tensor:
    """Cosine of each change `[n, P]` with the direction that they share, `[n]`; 0 for a change of nothing."""
    directions = changes / lengths(changes)
    products = directions @ directions.T
    # Power iteration, from all clients alike: its sum is never negative, so the direction is that of the majority.
    shares = torch.full((len(products),), len(products) ** -0.5, dtype=products.dtype)
    for _ in range(STEPS):
        following = products @ shares
        following = following / following.norm().clamp(min=torch.finfo(products.dtype).tiny)
        settled = (following - shares).norm() < SETTLED
        shares = following
        if settled:
            break
    shared = shares @ directions
    return directions @ (shared / shared.norm().clamp(min=torch.finfo(shared.dtype).tiny))
