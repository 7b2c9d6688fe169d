"""PGD that leaves an image as soon as the model is fooled: for tests, where that is all one asks of an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmix.robustness.ascent import Classifier
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws


@dataclass(frozen=True)
class LinfPGDStop(LinfPGD):
    """Settings of `attack=linf_pgd_stop`: `linf_pgd` that stops at the first point that fools the model.

    An image counts as fooled if its start or any step fools the model, where `linf_pgd` asks for the last step alone:
    the points are the same, so that it fools every image that `linf_pgd` fools, and some more. Later steps are of the
    images that are left, fewer at each.
    """

    name: ClassVar[str] = "linf_pgd_stop"
    fixed_statistics: ClassVar[bool] = True

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        eps, size = self.eps / 255, self.size / 255
        start = self.start(images, draws)
        attacked = images.clone() if start is None else (images + start).clamp_(0, 1)
        left = torch.arange(len(images), device=images.device)
        for _ in range(self.steps):
            points = attacked[left].requires_grad_()
            logits = model(points)
            right = logits.argmax(-1) == labels[left]
            if not right.any():
                break
            [gradient] = torch.autograd.grad(F.cross_entropy(logits, labels[left], reduction="sum"), points)
            left = left[right]
            clean = images[left]
            moved = points.detach()[right] + size * gradient[right].sign()
            attacked[left] = (clean + (moved - clean).clamp_(-eps, eps)).clamp_(0, 1)
        return attacked
