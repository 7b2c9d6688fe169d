"""An attack begun anew several times: of each image the strongest attempt counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmix.robustness.ascent import Classifier
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws


@dataclass(frozen=True)
class Restarted(Attack):
    """Of several attempts with other draws, the one that fools the model, else that of the greatest loss.

    Attributes:
        attack: what is begun anew.
        count: number of attempts.
    """

    name: ClassVar[str] = "restarted"
    fixed_statistics: ClassVar[bool] = True

    attack: Attack
    count: int

    @property
    def gradients(self) -> int:
        return self.count * self.attack.gradients

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        strongest, most = images, torch.full((len(images),), -torch.inf, dtype=images.dtype, device=images.device)
        for _ in range(self.count):
            attempt = self.attack.attacked(model, images, labels, draws).detach()
            with torch.no_grad():
                logits = model(attempt)
            loss = F.cross_entropy(logits, labels, reduction="none")
            strength = torch.where(logits.argmax(-1) == labels, loss, torch.inf)
            better = strength > most
            strongest = torch.where(better.view(-1, 1, 1, 1), attempt, strongest)
            most = torch.where(better, strength, most)
        return strongest
