"""PGD away from the model's own prediction: what TRADES and CalFAT train on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.robustness.ascent import Classifier, ascend
from splitmix.robustness.attacks import Attack, GradientSteps, LinfPGD
from splitmix.robustness.draws import Draws

START = 0.001
"""Standard deviation of the first change, of pixels in [0, 1]: at the images themselves the gradient is 0."""


@dataclass(frozen=True)
class KLPGD(GradientSteps):
    """Settings of `train_attack=kl_pgd`: Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan, "Theoretically Principled Trade-off
    between Robustness and Accuracy" (TRADES), ICML 2019: gradient steps that raise KL(prediction of the clean image ||
    prediction of the changed one). It does not look at labels, so that it is for training: RA is validated under
    `linf_pgd` of the same size.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        steps: number of gradient steps.
        step_size: in 1/255; None is eps / 4, as in TRADES' and CalFAT's code for CIFAR-10.
    """

    name: ClassVar[str] = "kl_pgd"
    norm: ClassVar[float | None] = math.inf

    eps: float = 8.0
    steps: int = 10
    step_size: float | None = None

    @property
    def validation(self) -> Attack:
        return LinfPGD(self.eps)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        with torch.no_grad():
            clean = model(images).softmax(1)
        start = START * draws.normal(images)
        size = self.step_size or self.eps / 4
        return ascend(model, images, clean, start, self.steps, self.eps, size, math.inf, Divergence())


class Divergence(nn.Module):
    """KL(p || softmax of logits), summed over images."""

    def forward(self, logits: Tensor, p: Tensor) -> Tensor:
        return F.kl_div(logits.log_softmax(1), p, reduction="sum")
