"""FGSM with a random start, for fast adversarial training, and the sign that it has gone wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from splitmix.robustness.ascent import Classifier, check_eps, check_steps
from splitmix.robustness.attacks import Attack, LinfPGD
from splitmix.robustness.draws import Draws

LEFT = 0.5
"""Share of the RA under FGSM that PGD leaves at least, while all is well."""
POINTS = 0.1
"""RA by which they differ at least where it has gone wrong: a few images at chance level say nothing."""


@dataclass(frozen=True)
class FGSMRS(Attack):
    """Settings of `train_attack=fgsm_rs`: Wong, Rice and Kolter, "Fast is better than free: Revisiting adversarial
    training", ICLR 2020: one step along the sign of the gradient from a random point of the ball.

    Training on it may end in catastrophic overfitting: RA under this attack stays high, RA under PGD falls to 0 in a
    few rounds. So RA is validated under `linf_pgd` of the same size, which also picks the best round where that goes
    by RA, and training warns where `overfits` holds. Its authors stop there; we go on, since the best round is kept.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        step_size: in 1/255; None is 1.25 eps, as in the paper.
    """

    name: ClassVar[str] = "fgsm_rs"
    norm: ClassVar[float | None] = math.inf

    eps: float = 8.0
    step_size: float | None = None

    @property
    def validation(self) -> Attack:
        return LinfPGD(self.eps)

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range."""
        check_eps(key, self.eps)
        check_steps(key, 1, self.step_size)

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        return LinfPGD(self.eps, 1, self.step_size or 1.25 * self.eps).attacked(model, images, labels, draws)


def overfits(trained: float, validated: float) -> bool:
    """Whether RA under the attack of training and under that of validation, in [0, 1], tell of overfitting: PGD leaves
    less than half, and at least 10 points less.
    """
    return validated < LEFT * trained and trained - validated >= POINTS
