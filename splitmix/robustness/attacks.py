"""Attacks on a classifier: small changes of images, within a norm, that raise its loss. advertorch does the work."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from splitmix.errors import UserError
from splitmix.robustness.advertorch_import import advertorch_utils
from splitmix.robustness.ascent import Classifier, ascend, check_eps, check_steps, run
from splitmix.robustness.draws import Draws

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing itself from Python 3.11 on


@dataclass(frozen=True)
class Attack:
    """Base of the settings of one option of the config group `attack`; its fields go into the record of a test."""

    name: ClassVar[str]
    fixed_statistics: ClassVar[bool] = False
    """Whether it picks images out of a batch, so that a prediction must not depend on the batch."""
    norm: ClassVar[float | None] = None
    """The order of the norm whose ball of size `eps` it stays in; None: it has no ball."""

    slow: ClassVar[bool] = False
    """Whether it can take hours, so that a test should say how far it is, and go on after a stop."""

    images_per_call: ClassVar[int] = 64
    """Images attacked in one call, about, where a prediction does not depend on its batch."""

    @property
    def gradients(self) -> int:
        """Forward-backward passes of an attack."""
        return 1

    @property
    def validation(self) -> Attack:
        """What RA is validated under, where a model is trained on this attack."""
        return self

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
        return self.perturb_pixels(model, images, labels, draws)

    def perturb_pixels(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        """`perturb` for images that are known to be in [0, 1]: to look at them, the host must wait for their device."""
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
class GradientSteps(Attack):
    """Base of attacks that take gradient steps in a ball.

    Attributes:
        eps: size of the ball, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None leaves it to the attack.
    """

    eps: float = 8.0
    steps: int = 20
    step_size: float | None = None

    @property
    def gradients(self) -> int:
        return self.steps

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)
        check_steps(key, self.steps, self.step_size)

    def scaled(self, factor: float) -> Self:
        """The same in a ball so many times as large, with steps that grow alike."""
        size = self.step_size
        return replace(self, eps=factor * self.eps, step_size=None if size is None else factor * size)


@dataclass(frozen=True)
class LinfPGD(GradientSteps):
    """Settings of `attack=linf_pgd`: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
    ICLR 2018, on the summed cross-entropy. With the defaults the attack of Hong et al., ICLR 2022.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is min(1.25 eps, eps + 4) / steps.
        random_start: begin at a random point of the ball.
    """

    name: ClassVar[str] = "linf_pgd"
    norm: ClassVar[float | None] = math.inf

    eps: float = 8.0
    steps: int = 7
    step_size: float | None = None
    random_start: bool = True

    @property
    def size(self) -> float:
        """Of a step, in 1/255."""
        return self.step_size or min(1.25 * self.eps, self.eps + 4) / self.steps

    def start(self, images: Tensor, draws: Draws) -> Tensor | None:
        """The first change of the images; None without a random start."""
        if not self.random_start:
            return None
        noise = (2 * draws.uniform(images) - 1) * (self.eps / 255)
        return (images + noise).clamp_(0, 1).sub_(images)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        return ascend(model, images, labels, self.start(images, draws), self.steps, self.eps, self.size, float("inf"))


@dataclass(frozen=True)
class L2PGD(GradientSteps):
    """Settings of `attack=l2_pgd`: projected gradient steps in the Euclidean norm.

    Attributes:
        eps: largest Euclidean length of the change of an image, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is 2.5 eps / steps.
        random_start: begin where advertorch does: at a uniform image, drawn in along the straight line until it is in
            the ball. So nearly every start is on its surface, on the side of grey.
    """

    name: ClassVar[str] = "l2_pgd"
    norm: ClassVar[float | None] = 2.0

    eps: float = 128.0
    steps: int = 20
    step_size: float | None = None
    random_start: bool = True

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        start = None
        if self.random_start:
            start = advertorch_utils().clamp_by_pnorm(draws.uniform(images) - images, 2, self.eps / 255)
        size = self.step_size or 2.5 * self.eps / self.steps
        return ascend(model, images, labels, start, self.steps, self.eps, size, 2)


@dataclass(frozen=True)
class MIM(GradientSteps):
    """Settings of `attack=mim`: Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is eps / steps.
        decay: of the momentum.
    """

    name: ClassVar[str] = "mim"
    norm: ClassVar[float | None] = math.inf

    eps: float = 8.0
    steps: int = 20
    step_size: float | None = None
    decay: float = 1.0

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
    norm: ClassVar[float | None] = math.inf

    eps: float = 8.0

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        return run("GradientSignAttack", model, images, labels, eps=self.eps / 255)
