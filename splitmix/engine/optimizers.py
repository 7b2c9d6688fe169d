"""Local optimizers: what a client steps with. Each client starts each round with a fresh one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitmix.binding import shown
from splitmix.errors import UserError

CLIP_EPS = 1e-6
"""Added to a norm before dividing by it, as PyTorch does."""


@dataclass(frozen=True)
class SGD:
    """Settings of `optimizer=sgd`. Weight decay acts on all parameters, batch normalisation and biases included.

    Attributes:
        lr: learning rate before the schedule.
        momentum: in [0, 1).
        weight_decay: L2 penalty, from 0 to 10.
        clip_norm: largest norm of a lane's gradient, all its parameters together; None does not clip.
    """

    name: ClassVar[str] = "sgd"

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float | None = None

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        _check_lr(self.lr)
        if not 0 <= self.momentum < 1:
            raise UserError(f"optimizer.momentum={shown(self.momentum)}: give a value from 0 up to, but not, 1")
        if not 0 <= self.weight_decay <= 10:
            raise UserError(f"optimizer.weight_decay={shown(self.weight_decay)}: give a value from 0 to 10")
        _check_clip_norm(self.clip_norm)

    def build(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        parameters = list(parameters)
        decay, fused = self.weight_decay, _can_fuse(parameters)
        return torch.optim.SGD(parameters, lr, momentum=self.momentum, weight_decay=decay, fused=fused)


@dataclass(frozen=True)
class Adam:
    """Settings of `optimizer=adam`: no weight decay.

    Attributes:
        lr: learning rate before the schedule.
        clip_norm: largest norm of a lane's gradient, all its parameters together; None does not clip.
    """

    name: ClassVar[str] = "adam"

    lr: float = 0.001
    clip_norm: float | None = None

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        _check_lr(self.lr)
        _check_clip_norm(self.clip_norm)

    def build(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        parameters = list(parameters)
        return torch.optim.Adam(parameters, lr, fused=_can_fuse(parameters))


def clip_lanes(parameters: Iterable[Tensor], clip_norm: float) -> None:
    """Scale the gradient of every lane that is longer than `clip_norm` down to it, as `clip_grad_norm_` does for one.

    Args:
        parameters: `[lanes, ...]` each, with gradients.
    """
    gradients = [value.grad for value in parameters if value.grad is not None]
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
    norms = torch.stack(squares).sum(0).sqrt()
    scale = (clip_norm / (norms + CLIP_EPS)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


def likely_cause(optimizer: SGD | Adam) -> str:
    """Which of the optimizer's settings most likely made a loss diverge."""
    decay = getattr(optimizer, "weight_decay", 0.0)
    # Weight decay alone multiplies every weight by 1 - lr * decay per step.
    strong = decay > 0.1 and optimizer.lr * decay > 0.5
    return f"{f'optimizer.weight_decay={shown(decay)} or ' if strong else ''}optimizer.lr={shown(optimizer.lr)}"


def _can_fuse(parameters: Iterable[nn.Parameter]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


def _check_clip_norm(clip_norm: float | None) -> None:
    if clip_norm is not None and not 0 < clip_norm <= 1e6:
        raise UserError(f"optimizer.clip_norm={shown(clip_norm)}: give a norm above 0 and up to 1e6, or null")


def _check_lr(lr: float) -> None:
    if not lr > 0:
        raise UserError(f"optimizer.lr={shown(lr)}: give a learning rate above 0")
