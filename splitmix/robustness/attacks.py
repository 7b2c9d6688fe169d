"""Attacks on a classifier: small changes of images, within a norm, that raise its loss. advertorch does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.robustness.advertorch_import import advertorch_attacks

Classifier = Callable[[Tensor], Tensor]
"""Float images `[n, c, h, w]` in [0, 1] to logits `[n, classes]`."""


class Attack(Protocol):
    """The settings of one option of the config group `attack`."""

    # A dataclass: its fields go into the record of a test.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        ...

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Attacked images, in [0, 1]; draws come from torch's global generator."""
        ...


@dataclass(frozen=True)
class NoAttack:
    """Settings of `attack=none`: the images as they are."""

    name: ClassVar[str] = "none"

    def check(self) -> None:
        """Nothing to check."""

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class LinfPGD:
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

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        check_eps(self.name, self.eps)
        check_steps(self.name, self.steps, self.step_size)

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        size = self.step_size or min(1.25 * self.eps, self.eps + 4) / self.steps
        return run(
            "LinfPGDAttack", model, images, labels,
            eps=self.eps / 255, nb_iter=self.steps, eps_iter=size / 255, rand_init=self.random_start,
        )  # fmt: skip


@dataclass(frozen=True)
class L2PGD:
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

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        check_eps(self.name, self.eps)
        check_steps(self.name, self.steps, self.step_size)

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        size = self.step_size or 2.5 * self.eps / self.steps
        return run(
            "L2PGDAttack", model, images, labels,
            eps=self.eps / 255, nb_iter=self.steps, eps_iter=size / 255, rand_init=self.random_start,
        )  # fmt: skip


@dataclass(frozen=True)
class MIM:
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

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        check_eps(self.name, self.eps)
        check_steps(self.name, self.steps, self.step_size)

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        size = self.step_size or self.eps / self.steps
        return run(
            "LinfMomentumIterativeAttack", model, images, labels,
            eps=self.eps / 255, nb_iter=self.steps, eps_iter=size / 255, decay_factor=self.decay,
        )  # fmt: skip


@dataclass(frozen=True)
class FGSM:
    """Settings of `attack=fgsm`: one step along the sign of the gradient (Goodfellow et al., ICLR 2015).

    Attributes:
        eps: change of a pixel, in 1/255 of the pixel range.
    """

    name: ClassVar[str] = "fgsm"

    eps: float = 8.0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        check_eps(self.name, self.eps)

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return run("GradientSignAttack", model, images, labels, eps=self.eps / 255)


def run(kind: str, model: Classifier, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """An attack of advertorch on the summed cross-entropy, within [0, 1]."""
    attack = getattr(advertorch_attacks(), kind)(
        model, loss_fn=nn.CrossEntropyLoss(reduction="sum"), clip_min=0.0, clip_max=1.0, targeted=False, **settings
    )
    with torch.enable_grad():
        attacked: Tensor = attack.perturb(images, labels)
    return attacked.detach()


def check_eps(name: str, eps: float) -> None:
    """Raise UserError unless 0 < eps <= 255."""
    if not 0 < eps <= 255:
        raise UserError(f"attack.{name}.eps={eps:g}: give a size in 1/255 of the pixel range, above 0 and up to 255")


def check_steps(name: str, steps: int, step_size: float | None) -> None:
    """Raise UserError for no steps, or a step that leads nowhere."""
    if steps < 1:
        raise UserError(f"attack.{name}.steps={steps}: give at least 1")
    if step_size is not None and not step_size > 0:
        raise UserError(f"attack.{name}.step_size={step_size:g}: give a size in 1/255 above 0, or null")
