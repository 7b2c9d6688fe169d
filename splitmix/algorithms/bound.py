"""What bound methods share: settings, model and problem; and the objective of lanes that are one model each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from splitmix.algorithms.adversarial import adversarial_objective, passes
from splitmix.algorithms.averaging import average_rows
from splitmix.algorithms.base import Objective, Problem, ServerState, Streams, Update, Work
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.models.network import LaneNetwork, Model, Tensors


@dataclass(frozen=True)
class BoundMethod:
    """A method whose lanes are whole rows of the server's tensors, averaged row by row over those that trained them.

    (See `splitmix.algorithms.base.Method`. Subclasses give the rest of it, and change what they do otherwise.)
    """

    settings: Any
    model: Model
    problem: Problem
    mixes: ClassVar[bool] = False

    @property
    def name(self) -> str:
        name: str = self.settings.name
        return name

    @property
    def base_models(self) -> int:
        return 1

    @property
    def temperature(self) -> float:
        """tau of the training loss tau * CE(logits / tau)."""
        return 1.0

    @property
    def adv_lambda(self) -> float:
        """Weight of the adversarial loss in training."""
        return 0.0

    @property
    def adversarial(self) -> bool:
        return self.adv_lambda > 0

    @property
    def adv_lambdas(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def ra_weight(self) -> float:
        return 0.0

    @property
    def notes(self) -> list[str]:
        return []

    @property
    def passes(self) -> float:
        """What a training step costs, a plain one being 1."""
        return passes(self.problem, self.adv_lambda)

    def extract(self, state: ServerState, work: Work) -> Tensors:
        return state.lanes(work.client, work.rows)

    def objective(self, network: LaneNetwork, images: Tensor, labels: Tensor, streams: Streams) -> Objective:
        if self.adv_lambda:
            return adversarial_objective(network, images, labels, streams, self.problem, self.adv_lambda)
        logits = network(images)
        losses = lane_cross_entropy(logits, labels, masked=self.problem.masked_loss, temperature=self.temperature)
        return Objective.of(losses, logits, labels)

    def merge(self, state: ServerState, updates: Iterable[Update]) -> ServerState:
        return average_rows(state, updates)
