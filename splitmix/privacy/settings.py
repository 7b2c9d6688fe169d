"""The options of the config group `privacy`, and the runs that they do not go with.

DP-FedAvg: McMahan, Ramage, Talwar, Zhang, "Learning Differentially Private Recurrent Language Models", ICLR 2018 (arXiv
1710.06963): what a client changes is clipped as a whole, the sum gets noise and is divided by a fixed number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.aggregation import Mean
from splitmix.algorithms.method import Method
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import batch_norm_entries, lane_template, parameter_entries

SERVER_SIDE = ("no_updates", "accumulate", "average", "finalise")
"""What a method may not do its own way: noise is put on the plain sums of whole base models."""


@dataclass(frozen=True)
class NoPrivacy:
    """`privacy=none`: updates are merged as they are."""

    name: ClassVar[str] = "none"

    def check(self) -> None:
        """Nothing can be wrong."""

    def check_run(self, method: Method, ranks: int, simulates_fleet: bool) -> None:
        """Every run goes with it."""


@dataclass(frozen=True)
class DPFedAvg:
    """`privacy=dp_fedavg`: clipped updates, noise on their sum, fixed denominators.

    Attributes:
        clip_norm: C, the largest norm of what one client changes in a round, all its base models together, above 0;
            None clips nothing, which goes with noise_multiplier=0 alone.
        noise_multiplier: z; the sum of the updates gets noise of standard deviation z C. None finds it.
        target_epsilon: ε after all rounds, for which z is found; None where z is given.
        delta: δ of ε, above 0 and below 1.
        participation: `fixed` draws `clients_per_round` clients without replacement, `poisson` each client by itself,
            so many on average.
    """

    name: ClassVar[str] = "dp_fedavg"

    clip_norm: float | None = 1.0
    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    delta: float = 1e-5
    participation: str = "fixed"

    def check(self) -> None:
        """Raise UserError for a value out of range, or values that contradict each other."""
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            raise UserError(
                f"privacy.noise_multiplier={shown(self.noise_multiplier)} privacy.target_epsilon="
                f"{shown(self.target_epsilon)}: give one of them, such as privacy.noise_multiplier=1"
            )
        if self.noise_multiplier is not None and self.noise_multiplier < 0:
            raise UserError(f"privacy.noise_multiplier={shown(self.noise_multiplier)}: give 0 or more")
        if self.target_epsilon is not None and self.target_epsilon <= 0:
            raise UserError(f"privacy.target_epsilon={shown(self.target_epsilon)}: give a number above 0")
        if self.clip_norm is None and self.noise_multiplier != 0:
            raise UserError("privacy.clip_norm=null: noise hides only what is bounded; give a norm above 0")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UserError(f"privacy.clip_norm={shown(self.clip_norm)}: give a norm above 0, or null")
        if not 0 < self.delta < 1:
            raise UserError(f"privacy.delta={shown(self.delta)}: give a number above 0 and below 1")
        if self.participation not in ("fixed", "poisson"):
            raise UserError(f"privacy.participation={self.participation}: choose fixed or poisson")

    def check_run(self, method: Method, ranks: int, simulates_fleet: bool) -> None:
        """Raise UserError, naming the key, for a run whose ε would not hold."""
        this, rule, spec = f"privacy={self.name}", method.problem.aggregation, method.server_network
        if not isinstance(rule, Mean):
            raise UserError(f"{this}: aggregation={rule.name} is no sum that noise could hide; use aggregation=mean")
        if any(getattr(type(method), name) is not getattr(Method, name) for name in SERVER_SIDE):
            raise UserError(
                f"{this}: {method.called} uploads or merges other than base models of one width; use"
                " algorithm=splitmix with algorithm.atom_width, or fedavg"
            )
        uploaded = set(lane_template(spec, 1)) - (set(batch_norm_entries(spec)) if spec.bn == "local" else set())
        if uploaded - parameter_entries(spec):
            raise UserError(
                f"{this}: model.bn={method.model.bn} uploads running statistics, which are not clipped; use"
                " model.bn=batch or local"
            )
        if simulates_fleet:
            raise UserError(f"{this}: who of a fleet answers is no draw that ε counts with; leave the key fleet out")
        if ranks > 1:
            raise UserError(f"{this}: a client's whole update is clipped on one rank; use engine.devices=1")
