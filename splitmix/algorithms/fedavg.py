"""FedAvg: McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS 2017 (arXiv 1602.05629); with `model.bn=local` FedBN: Li et al., ICLR 2021.

Every client trains the same network of one width, whatever its budget; the server averages by numbers of samples.
With `adv_lambda` above 0, FedAvg + AT: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
ICLR 2018, locally on every client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from splitmix.algorithms.adversarial import check_adversarial
from splitmix.algorithms.base import MixGroup, Problem
from splitmix.algorithms.method import Method
from splitmix.algorithms.objectives import check_temperature, temperature_of
from splitmix.algorithms.values import ClientTask, ServerState
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Model, NetworkSpec, Tensors, lane_entries
from splitmix.widths import TOLERANCE, normalized


@dataclass(frozen=True)
class FedAvg:
    """Settings of `algorithm=fedavg`.

    Attributes:
        width: width of the network that every client trains.
        loss_temperature: tau of the loss tau * CE(logits / tau); `auto` is `width`; None is 1.
        adv_lambda: weight of the loss on attacked images, in [0, 1]; 0 is plain training, 1 sees no clean images.
    """

    name: ClassVar[str] = "fedavg"

    width: float = 1.0
    loss_temperature: float | str | None = None
    adv_lambda: float = 0.0

    @property
    def label(self) -> str:
        return f"FedAvg+AT (λ={self.adv_lambda:g})" if self.adv_lambda else "FedAvg"

    def bind(self, model: Model, problem: Problem) -> FedAvgMethod:
        """Check the settings against the model and the problem (UserError)."""
        self.check(model, problem)
        return FedAvgMethod(self, model, problem)

    def check(self, model: Model, problem: Problem) -> None:
        """Raise UserError for settings out of range, or that do not fit the model or the problem."""
        check_width(self.width)
        check_temperature(self.loss_temperature)
        check_adversarial(self.adv_lambda, self.loss_temperature, problem)
        model.check(problem.input_shape, self.width)


@dataclass(frozen=True)
class FedAvgMethod(Method):
    """FedAvg bound to a model and a problem (see `splitmix.algorithms.method.Method`)."""

    settings: Any  # FedAvg's, or another method's of a single network

    @property
    def temperature(self) -> float:
        return temperature_of(self.settings.loss_temperature, self.settings.width)

    @property
    def adv_lambda(self) -> float:
        return self.settings.adv_lambda

    @cached_property
    def spec(self) -> NetworkSpec:
        """The network."""
        return NetworkSpec(
            self.model, self.settings.width, self.problem.input_shape, self.problem.classes, bn=self.model.bn
        )

    @property
    def widths(self) -> tuple[float, ...]:
        return (normalized(self.settings.width, self.problem.budget_widths),)

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[ClientTask]:
        return [ClientTask(state.round, client, self.spec, (0,)) for client in participants]

    def network(self, width: float) -> NetworkSpec:
        if abs(width - self.settings.width) > TOLERANCE:
            raise UserError(
                f"width {width:g}: algorithm={self.name} trained a single network of width {self.settings.width:g}"
                f" and gives no other; ask for {self.settings.width:g}, or train with algorithm.width={width:g}"
            )
        return self.spec

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        for width in widths:
            self.network(width)
        return [MixGroup(self.spec, tensors, dict.fromkeys(widths, 1))]

    def upload_entries(self, budget: float) -> int:
        return lane_entries(self.spec)

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        return [(self.spec, self.step_cost)]


def check_width(width: float) -> None:
    """Raise UserError unless it is in (0, 1]."""
    if not 0 < width <= 1:
        raise UserError(f"algorithm.width={shown(width)}: give a width above 0 and up to 1")
