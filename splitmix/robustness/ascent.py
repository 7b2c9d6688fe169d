"""The steps of attacks up the loss, which advertorch takes, and the ranges of their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.robustness.advertorch_import import advertorch_attacks

Classifier = Callable[[Tensor], Tensor]
"""Float images `[n, c, h, w]` in [0, 1] to logits `[n, classes]`."""


def summed() -> nn.Module:
    """The loss that attacks raise: summed over images, so that no image's gradient depends on another's."""
    return nn.CrossEntropyLoss(reduction="sum")


def run(kind: str, model: Classifier, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """An attack of advertorch, within [0, 1]."""
    attack = getattr(advertorch_attacks(), kind)(
        model, loss_fn=summed(), clip_min=0.0, clip_max=1.0, targeted=False, **settings
    )
    attacked: Tensor = attack.perturb(images, labels)
    return attacked


def ascend(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    start: Tensor | None,
    steps: int,
    eps: float,
    size: float,
    order: float,
    loss: nn.Module | None = None,
) -> Tensor:
    """advertorch's projected gradient steps from a start of our own: theirs would come from the global generator.

    Args:
        start: the first change of the images; None is none.
        eps, size: of the ball and of a step, in 1/255.
        order: of the norm.
        loss: what is raised, of logits and `labels`, summed over images; None is the cross-entropy.
    """
    attacked: Tensor = advertorch_attacks().iterative_projected_gradient.perturb_iterative(
        images, labels, model, nb_iter=steps, eps=eps / 255, eps_iter=size / 255, loss_fn=loss or summed(),
        delta_init=start, ord=order, clip_min=0.0, clip_max=1.0,
    )  # fmt: skip
    return attacked


def check_eps(key: str, eps: float) -> None:
    """Raise UserError unless 0 < eps <= 255."""
    if not 0 < eps <= 255:
        raise UserError(f"{key}.eps={shown(eps)}: give a size in 1/255 of the pixel range, above 0 and up to 255")


def check_steps(key: str, steps: int, step_size: float | None) -> None:
    """Raise UserError for no steps, or a step that leads nowhere."""
    if steps < 1:
        raise UserError(f"{key}.steps={steps}: give at least 1")
    if step_size is not None and not 0 < step_size <= 255:
        raise UserError(f"{key}.step_size={shown(step_size)}: give a size in 1/255, above 0 and up to 255, or null")
