"""Attacks on a classifier: small changes of images, within a norm, that raise its loss. advertorch does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.robustness.advertorch_import import advertorch_attacks, advertorch_utils
from splitmix.robustness.draws import Draws

Classifier = Callable[[Tensor], Tensor]
"""Float images `[n, c, h, w]` in [0, 1] to logits `[n, classes]`."""


@dataclass(frozen=True)
class Attack:
    """Base of the settings of one option of the config group `attack`; its fields go into the record of a test."""

    name: ClassVar[str]
    fixed_statistics: ClassVar[bool] = False
    """Whether it picks images out of a batch, so that a prediction must not depend on the batch."""

    @property
    def gradients(self) -> int:
        """Forward-backward passes of an attack."""
        return 1

    def check(self, key: str) -> None:
        """Raise UserError, naming `key.<setting>`, for a value out of range or a library that is not there."""

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        """Attacked images `[n, c, h, w]`, in [0, 1], without gradient, in the memory layout of `images`.

        Libraries of attacks look at images through views that channels-last ones do not have. So an attack works on
        contiguous images, and the model sees the layout that it was called with.

        Args:
            model: what is attacked; each prediction must depend on its own image alone, or on the whole batch.
            images: float `[n, c, h, w]` in [0, 1].
            labels: int64 `[n]`.
            draws: randomness, for `n` images.

        Raises:
            UserError: images outside [0, 1].
        """
        low, high = images.aminmax()
        if low < 0 or high > 1:
            raise UserError(
                f"images from {low:g} to {high:g}: attacks need pixels in [0, 1]; divide bytes by 255, do not normalise"
            )
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format

        def laid_out(changed: Tensor) -> Tensor:
            return model(changed.contiguous(memory_format=layout))

        with torch.enable_grad():
            attacked = self.attacked(laid_out, images.contiguous(), labels, draws).detach()
        return attacked.contiguous(memory_format=layout)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        """`perturb` after the checks; `images` are contiguous."""
        return images


@dataclass(frozen=True)
class NoAttack(Attack):
    """Settings of `attack=none`: the images as they are."""

    name: ClassVar[str] = "none"

    @property
    def gradients(self) -> int:
        return 0


@dataclass(frozen=True)
class LinfPGD(Attack):
    """Settings of `attack=linf_pgd`: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
    ICLR 2018, on the summed cross-entropy. With the defaults the attack of Hong et al., ICLR 2022.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is min(1.25 eps, eps + 4) / steps.
        random_start: begin at a random point of the ball.
    """

    name: ClassVar[str] = "linf_pgd"

    eps: float = 8.0
    steps: int = 7
    step_size: float | None = None
    random_start: bool = True

    @property
    def gradients(self) -> int:
        return self.steps

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)
        check_steps(key, self.steps, self.step_size)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        start = None
        if self.random_start:
            noise = (2 * draws.uniform(images) - 1) * (self.eps / 255)
            start = (images + noise).clamp_(0, 1).sub_(images)
        size = self.step_size or min(1.25 * self.eps, self.eps + 4) / self.steps
        return ascend(model, images, labels, start, self.steps, self.eps, size, float("inf"))


@dataclass(frozen=True)
class L2PGD(Attack):
    """Settings of `attack=l2_pgd`: projected gradient steps in the Euclidean norm.

    Attributes:
        eps: largest Euclidean length of the change of an image, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is 2.5 eps / steps.
        random_start: begin at a random point of the ball.
    """

    name: ClassVar[str] = "l2_pgd"

    eps: float = 128.0
    steps: int = 20
    step_size: float | None = None
    random_start: bool = True

    @property
    def gradients(self) -> int:
        return self.steps

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)
        check_steps(key, self.steps, self.step_size)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        start = None
        if self.random_start:
            start = advertorch_utils().clamp_by_pnorm(draws.uniform(images) - images, 2, self.eps / 255)
        size = self.step_size or 2.5 * self.eps / self.steps
        return ascend(model, images, labels, start, self.steps, self.eps, size, 2)


@dataclass(frozen=True)
class MIM(Attack):
    """Settings of `attack=mim`: Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is eps / steps.
        decay: of the momentum.
    """

    name: ClassVar[str] = "mim"

    eps: float = 8.0
    steps: int = 20
    step_size: float | None = None
    decay: float = 1.0

    @property
    def gradients(self) -> int:
        return self.steps

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)
        check_steps(key, self.steps, self.step_size)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        size = self.step_size or self.eps / self.steps
        return run(
            "LinfMomentumIterativeAttack", model, images, labels,
            eps=self.eps / 255, nb_iter=self.steps, eps_iter=size / 255, decay_factor=self.decay,
        )  # fmt: skip


@dataclass(frozen=True)
class FGSM(Attack):
    """Settings of `attack=fgsm`: one step along the sign of the gradient (Goodfellow et al., ICLR 2015).

    Attributes:
        eps: change of a pixel, in 1/255 of the pixel range.
    """

    name: ClassVar[str] = "fgsm"

    eps: float = 8.0

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        return run("GradientSignAttack", model, images, labels, eps=self.eps / 255)


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
) -> Tensor:
    """advertorch's projected gradient steps from a start of our own: theirs would come from the global generator.

    Args:
        start: the first change of the images; None is none.
        eps, size: of the ball and of a step, in 1/255.
        order: of the norm.
    """
    attacked: Tensor = advertorch_attacks().iterative_projected_gradient.perturb_iterative(
        images, labels, model, nb_iter=steps, eps=eps / 255, eps_iter=size / 255, loss_fn=summed(),
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
