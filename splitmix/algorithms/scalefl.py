"""ScaleFL: Ilhan, Su, Liu, "ScaleFL: Resource-Adaptive Federated Learning with Heterogeneous Clients", CVPR 2023.

One network with exits; a client's part of it is narrower and shallower at once; it trains every exit on it, the deeper
the heavier, and the earlier ones may learn from the last; every entry is averaged over the clients that trained it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmix.algorithms.base import Problem
from splitmix.algorithms.exits import ExitMethod, ExitSettings, bound_exits
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Model


@dataclass(frozen=True)
class ScaleFL(ExitSettings):
    """Settings of `algorithm=scalefl`.

    Attributes:
        exits, weighting: see `ExitSettings`.
        rescale_layer: divide the outputs of sliced layers by the slice's width while training.
        gamma: weight of the earlier exits' distillation from the last one; 0 is none.
        temperature: T of its softmax.
        quiet: share of the rounds before it begins.

    Where we differ from the authors' code (git-disl/scale-fl: fed.py, train.py, predict.py, models/): a budget b, the
    width of a slice of equal cost, becomes the share b^(2/3) of the channels and of the exits, so that their product,
    width² x depth, is at most b² (unless a single exit is more), where it lists widths 0.7, 0.7, 0.75, 1 for depths 1
    to 4; exits of PreResNet-18 lack its three convolutions; the scaler is left out in evaluation, which before batch
    normalisation changes nothing but the share of its eps; the accuracy is that of the last exit, where theirs prints
    the mean over exits under that name (one meter stands for all of them). As in that code the last exit sees a
    gradient of the distillation too, and the divergence is a mean over classes.
    """

    name: ClassVar[str] = "scalefl"
    label: ClassVar[str] = "ScaleFL"

    rescale_layer: bool = True  # type: ignore[misc]
    gamma: float = 0.0
    temperature: float = 3.0
    quiet: float = 0.25

    def bind(self, model: Model, problem: Problem) -> ExitMethod:
        """Check the settings against the model and the problem (UserError)."""
        if not 0 <= self.gamma < float("inf"):
            raise UserError(f"algorithm.gamma={shown(self.gamma)}: give a number of at least 0")
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"algorithm.temperature={shown(self.temperature)}: give a number above 0")
        if not 0 <= self.quiet <= 1:
            raise UserError(f"algorithm.quiet={shown(self.quiet)}: give a share of the rounds, from 0 to 1")
        return bound_exits(ScaleFLMethod, self, model, problem)


@dataclass(frozen=True)
class ScaleFLMethod(ExitMethod):
    """ScaleFL bound to a model and a problem."""

    settings: ScaleFL

    def share(self, width: float) -> float:
        return float(width ** (2 / 3))

    def channels(self, width: float) -> float:
        return self.share(width)

    def distillation(self, round_index: int) -> float:
        return self.settings.gamma if round_index > self.settings.quiet * self.problem.rounds else 0.0

    def loss(self, logits: Sequence[Tensor], losses: Tensor, weight: Tensor) -> Tensor:
        rank = torch.arange(1, len(logits) + 1, dtype=losses.dtype, device=losses.device).unsqueeze(1)
        if self.settings.gamma and len(logits) > 1:
            distances = [self.distance(one, logits[-1]) for one in logits[:-1]]
            losses = torch.cat([losses[:-1] + weight * torch.stack(distances), losses[-1:]])
        return (rank * losses).sum(0) / rank.sum()

    def distance(self, logits: Tensor, last: Tensor) -> Tensor:
        """T² times the KL divergence from the last exit to an earlier one, the mean over images and classes, `[lanes]`.

        Args:
            logits, last: of the two, `[lanes, n, classes]`.
        """
        t = self.settings.temperature
        earlier, target = (logits / t).log_softmax(-1), (last / t).log_softmax(-1)
        return t**2 * F.kl_div(earlier, target, reduction="none", log_target=True).mean((1, 2))
