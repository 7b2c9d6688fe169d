"""DepthFL: Kim, Kim, Mahajan, Kim, Lee, "DepthFL: Depthwise Federated Learning for Heterogeneous Clients", ICLR 2023.

One network with exits; a client holds as many of its stages as its budget allows and trains every exit on them, each of
which also learns from the others; at test the exits of a depth answer together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from splitmix.algorithms.base import Problem
from splitmix.algorithms.exits import ExitMethod, ExitSettings, bound_exits
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Model, NetworkSpec


@dataclass(frozen=True)
class DepthFL(ExitSettings):
    """Settings of `algorithm=depthfl`.

    Attributes:
        exits, weighting: see `ExitSettings`.
        self_distillation: every exit also learns from the others.
        ramp: share of the rounds over which its weight grows to 1, as exp(-5 (1 - round / (ramp rounds))²).

    Where we differ from the authors' code (adap/flower: baselines/depthfl, client.py, models.py, strategy.py,
    resnet.py): FedDyn, which it can add, is not offered; clients of a depth are those of a budget, a share of the
    exits, where it has a quarter of the clients at each of four depths (`budget.widths=4-2-4d3-1`); an exit of
    PreResNet-18 is batch normalisation, ReLU, average pooling and a linear layer, where theirs adds attention and
    separable convolutions down to 512 channels; batch normalisation takes statistics of the batch; the ramp is a share
    of the rounds, theirs 300 of 1000.
    """

    name: ClassVar[str] = "depthfl"
    label: ClassVar[str] = "DepthFL"

    self_distillation: bool = True
    ramp: float = 0.3

    def bind(self, model: Model, problem: Problem) -> ExitMethod:
        """Check the settings against the model and the problem (UserError)."""
        if not 0 <= self.ramp <= 1:
            raise UserError(f"algorithm.ramp={shown(self.ramp)}: give a share of the rounds, from 0 to 1")
        return bound_exits(DepthFLMethod, self, model, problem)


@dataclass(frozen=True)
class DepthFLMethod(ExitMethod):
    """DepthFL bound to a model and a problem."""

    settings: DepthFL

    def spec(self, width: float) -> NetworkSpec:
        return replace(super().spec(width), ensemble=True)

    def tested(self, width: float) -> NetworkSpec:
        return self.spec(width)

    def distillation(self, round_index: int) -> float:
        if not self.settings.self_distillation:
            return 0.0
        length = self.settings.ramp * self.problem.rounds
        left = max(0.0, 1 - round_index / length) if length else 0.0
        return math.exp(-5 * left**2)

    def loss(self, logits: Sequence[Tensor], losses: Tensor, weight: Tensor) -> Tensor:
        if not self.settings.self_distillation or len(logits) == 1:
            return losses.sum(0)
        return losses.sum(0) + weight * mutual_distillation(logits)


def mutual_distillation(logits: Sequence[Tensor]) -> Tensor:
    """The sum over exits of the mean KL divergence from each of the others to it, in nats, `[lanes]`.

    Args:
        logits: of two or more exits, `[lanes, n, classes]`. The others' are targets, without gradient.
    """
    answers = [one.log_softmax(-1) for one in logits]
    divergences = [
        F.kl_div(pupil, teacher.detach(), reduction="none", log_target=True).sum(-1).mean(-1)
        for pupil in answers
        for teacher in answers
        if teacher is not pupil
    ]
    return sum(divergences[1:], divergences[0]) / (len(answers) - 1)
