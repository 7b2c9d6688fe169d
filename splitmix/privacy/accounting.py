"""What the noise of a private run guarantees: ε, by the package dp-accounting (extra `privacy`).

ε alone says nothing: it belongs to a neighbouring relation, a δ, and a way of computing it. Two are offered.

- Clients drawn independently of each other (Poisson), neighbours that differ in whether a client takes part: the sum
  of updates clipped to C changes by at most C, so that noise z C enters as z. By privacy loss distributions (PLD).
- A fixed number of clients drawn without replacement, neighbours that differ in one client's data: the sum changes by
  at most 2 C, so that the same noise enters as z / 2. By Rényi divergences (RDP): Wang, Balle, Kasiviswanathan,
  "Subsampled Rényi Differential Privacy and Analytical Moments Accountant", AISTATS 2019 (arXiv 1808.00087).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from types import ModuleType
from typing import Any

from scipy.optimize import brentq

from splitmix.errors import UserError

FINEST, MOST_STEPS = 1e-4, 2e6
"""Steps in which privacy losses are counted: so fine, or as fine as gives so many of them."""
MOST_NOISE = 1e6
EXTRA = 1e-4
"""The noise found for a target is at most this share above the least that does."""


@dataclass(frozen=True)
class Sampling:
    """How the clients of a round are drawn.

    Attributes:
        clients: of the federation.
        per_round: clients of a round; on average, if they are drawn independently.
        poisson: each client is drawn by itself; otherwise so many without replacement.
    """

    clients: int
    per_round: int
    poisson: bool

    @property
    def share(self) -> float:
        """The chance of a client to take part in a round."""
        return self.per_round / self.clients

    @property
    def relation(self) -> str:
        """In which way neighbouring data differ."""
        return "add/remove" if self.poisson else "replace-one"

    @property
    def accountant(self) -> str:
        """How ε is computed."""
        return "PLD" if self.poisson else "RDP"


@dataclass(frozen=True)
class Guarantee:
    """What the noise of a run guarantees, as results.json keeps it.

    Attributes:
        epsilon: ε of the rounds so far; None where there is no noise, and so no guarantee.
        delta: δ.
        relation: in which way neighbouring data differ, `add/remove` or `replace-one` client.
        accountant: how ε was computed, `PLD` or `RDP`.
        noise_multiplier: z.
        clip_norm: C; None for no clipping.
        participation: how clients were drawn, `fixed` or `poisson`.
    """

    epsilon: float | None
    delta: float
    relation: str
    accountant: str
    noise_multiplier: float
    clip_norm: float | None
    participation: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Guarantee:
        """The guarantee in a results.json."""
        values: dict[str, Any] = {field.name: record.get(field.name) for field in fields(cls)}
        return cls(**values)

    @property
    def text(self) -> str:
        """In a line; never ε without what it belongs to."""
        drawn = "clients drawn independently" if self.participation == "poisson" else "a fixed number of clients"
        noise = (
            f"z = {self.noise_multiplier:.4g}, C = {'∞' if self.clip_norm is None else f'{self.clip_norm:g}'}, {drawn}"
        )
        if self.epsilon is None:
            return f"no guarantee: no noise ({noise})"
        return f"ε = {self.epsilon:.4g} at δ = {self.delta:g} (of clients, {self.relation}, {self.accountant}; {noise})"


OUTSIDE = (
    "ε speaks of the models of all rounds, towards who does not know the run's seed. The choice of the best round by"
    " validation, and the accuracies and metrics of clients, lie outside it."
)
"""What must be said wherever ε is reported."""


@lru_cache(maxsize=4096)
def epsilon_of(sampling: Sampling, noise_multiplier: float, rounds: int, delta: float) -> float:
    """ε of so many rounds towards who sees all models that they ended with; infinite without noise.

    Args:
        noise_multiplier: z; the sum of updates clipped to C has noise of standard deviation z C.

    Raises:
        UserError: the package dp-accounting is not installed.
    """
    if not noise_multiplier:
        return math.inf
    package = library()
    if not rounds:
        return 0.0
    return (_poisson if sampling.poisson else _fixed)(package, sampling, noise_multiplier, rounds, delta)


def _poisson(package: ModuleType, sampling: Sampling, noise: float, rounds: int, delta: float) -> float:
    from dp_accounting.pld import PLDAccountant

    if sampling.share == 1:
        # Without sampling so many rounds are one, of less noise, whose ε has a closed form.
        return float(package.get_epsilon_gaussian(noise / math.sqrt(rounds), delta))
    # Little noise loses much: in the finest steps that would fill the memory.
    losses = rounds / (2 * noise**2) + 10 * math.sqrt(rounds) / noise
    accountant = PLDAccountant(value_discretization_interval=max(FINEST, losses / MOST_STEPS))
    accountant.compose(package.PoissonSampledDpEvent(sampling.share, package.GaussianDpEvent(noise)), rounds)
    return float(accountant.get_epsilon(delta))


def _fixed(package: ModuleType, sampling: Sampling, noise: float, rounds: int, delta: float) -> float:
    from dp_accounting.rdp import RdpAccountant

    event = package.GaussianDpEvent(noise / 2)
    if sampling.share < 1:
        event = package.SampledWithoutReplacementDpEvent(sampling.clients, sampling.per_round, event)
    accountant = RdpAccountant(neighboring_relation=package.NeighboringRelation.REPLACE_ONE)
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=64)
def noise_for(sampling: Sampling, target_epsilon: float, rounds: int, delta: float) -> float:
    """The least noise multiplier z, to a ten-thousandth, with which so many rounds stay within this ε.

    Raises:
        UserError: no noise does; the package dp-accounting is not installed.
    """

    def excess(log_noise: float) -> float:
        return math.log(max(epsilon_of(sampling, math.exp(log_noise), rounds, delta), 1e-12) / target_epsilon)

    low = high = 0.0
    while excess(high) > 0:
        low, high = high, high + 1.0
        if high > math.log(MOST_NOISE):
            raise UserError(
                f"privacy.target_epsilon={target_epsilon:g}: no noise is known to reach it in {rounds} rounds at"
                f" delta={delta:g}; give a larger one"
            )
    while excess(low) <= 0:
        low, high = low - 1.0, low
    logarithm = float(brentq(excess, low, high, xtol=EXTRA / 4))
    while excess(logarithm) > 0:
        logarithm += EXTRA / 2
    return math.exp(logarithm)


def library() -> ModuleType:
    """The package dp-accounting (UserError if it is not installed)."""
    try:
        import dp_accounting
    except ImportError:
        raise UserError(
            "privacy=dp_fedavg: ε is computed by the package dp-accounting; pip install 'splitmix[privacy]'"
        ) from None
    package: ModuleType = dp_accounting
    return package
