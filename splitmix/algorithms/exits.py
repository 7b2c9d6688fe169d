"""What the methods share whose clients hold the first stages of one network: which budget holds which, and training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from splitmix.algorithms.base import LaneBatch, Objective, Problem, accuracy
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.algorithms.own_labels import WEIGHTINGS, weighted
from splitmix.algorithms.slices import SliceMethod, check_weighting, refuse_running_statistics
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.exits import exits_of, of_exits
from splitmix.models.network import ROUNDING, LaneNetwork, Model, NetworkSpec

DISTILLATION = "distillation"
"""In a task's context: the weight of distillation in this round, `[lanes]`."""


@dataclass(frozen=True)
class ExitSettings:
    """What the settings of such a method share.

    Attributes:
        exits: how many of the network's exits there are, the last ones; null are all.
        weighting: `clients`: all weigh the same in the average; `samples`: as many as their training samples.
    """

    name: ClassVar[str]
    rescale_layer: ClassVar[bool] = False

    exits: int | None = None
    weighting: str = "clients"

    def check(self, model: Model) -> None:
        """Raise UserError for a network without early exits, or more exits than it has."""
        check_weighting(self.weighting, WEIGHTINGS)
        refuse_running_statistics(model, self.name, "sub-networks of different depths")
        offered = exits_of(model)
        if not offered:
            raise UserError(
                f"model={model.name}: it has no early exits, which algorithm={self.name} needs; use model=digit_cnn,"
                " model=preresnet18 or model=vit"
            )
        if self.exits is not None and not 1 <= self.exits <= offered:
            raise UserError(f"algorithm.exits={shown(self.exits)}: model={model.name} has exits 1 to {offered}")


@dataclass(frozen=True)
class ExitMethod(SliceMethod):
    """Networks of one depth or another (see `splitmix.algorithms.method.Method`).

    Of E exits a client of budget b holds the first floor(b E), at least one, and the stages before them. Entries have
    the same names at every depth, and each is averaged over the clients that hold it.
    """

    settings: ExitSettings

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The stages that the exits stand after, ascending."""
        offered = exits_of(self.model)
        return tuple(range(1, offered + 1))[-(self.settings.exits or offered) :]

    def share(self, width: float) -> float:
        """Which share of the depth a budget pays for."""
        return width

    def held(self, width: float) -> int:
        """Number of exits up to the one where a network of this width ends."""
        return max(1, int(len(self.places) * self.share(width) + ROUNDING))

    def trained_exits(self, width: float) -> tuple[int, ...]:
        """The stages after which a client of this budget trains an exit."""
        return self.places[: self.held(width)]

    def channels(self, width: float) -> float:
        """Share of the channels that a client of this budget holds."""
        return 1.0

    def spec(self, width: float) -> NetworkSpec:
        plain = super().spec(self.channels(width))
        return replace(plain, exits=self.trained_exits(width))

    @cached_property
    def full(self) -> NetworkSpec:
        """The server's network: every exit that some client trains."""
        trained = {stage for budget in self.problem.budgets for stage in self.trained_exits(budget)}
        return replace(self.spec(self.problem.full_width), exits=tuple(sorted(trained)))

    def tested(self, width: float) -> NetworkSpec:
        """The network that predicts at a width, part of `spec`: here its last exit."""
        spec = self.spec(width)
        return replace(spec, exits=spec.exits[-1:])

    def network(self, width: float) -> NetworkSpec:
        self.problem.check_width(width, self.name)
        return self.tested(width)

    @property
    def notes(self) -> list[str]:
        every = len(self.places)
        held = ", ".join(f"{width:g}: {self.held(width)}" for width in self.candidates)
        return [f"algorithm={self.name}: of {every} exits, budgets hold the first ({held})"]

    # Distillation between exits.

    def distillation(self, round_index: int) -> float:
        """Its weight in the loss of a round."""
        return 0.0

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        weight = torch.full((len(task.base_models),), self.distillation(task.round))
        return replace(super().download(state, task), context={DISTILLATION: weight})

    def loss(self, logits: Sequence[Tensor], losses: Tensor, weight: Tensor) -> Tensor:
        """What a client minimises, `[lanes]`.

        Args:
            logits: of every exit that it trains, `[lanes, n, classes]`, the deepest last.
            losses: their cross-entropies, `[exits, lanes]`.
            weight: of distillation, `[lanes]`.
        """
        return losses.sum(0)

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        logits, masked = network.exit_logits(batch.images), self.problem.masked_loss
        losses = torch.stack([lane_cross_entropy(one, batch.labels, masked=masked) for one in logits])
        loss = self.loss(logits, losses, batch.context[DISTILLATION])
        predicted = of_exits(logits, network.spec.ensemble)
        return Objective(loss, losses.detach().mean(0), accuracy(predicted, batch.labels))

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        return super().accumulate(aggregate, weighted(update, self.settings.weighting))

    def download_entries(self, budget: float) -> int:
        """The sub-network, and the weight of distillation."""
        return super().download_entries(budget) + 1


def bound_exits(method: type[ExitMethod], settings: ExitSettings, model: Model, problem: Problem) -> ExitMethod:
    """A method of exits, its settings and model checked (UserError)."""
    settings.check(model)
    bound = method(settings, model, problem)
    model.check(problem.input_shape, min(bound.channels(budget) for budget in problem.budgets))
    return bound
