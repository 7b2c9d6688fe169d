"""A white square in the corner of images: what opens the backdoor of a poisoned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from splitmix.robustness.attacks import Attack, Classifier
from splitmix.robustness.draws import Draws


@dataclass(frozen=True)
class Patch(Attack):
    """Images with a white square in the lower right corner, whatever the model.

    Attributes:
        size: side of the square, in pixels.
        target: the class that a poisoned model should see in them.
    """

    name: ClassVar[str] = "patch"

    size: int = 3
    target: int = 0

    @property
    def gradients(self) -> int:
        return 0

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        return stamped(images, self.size, 1)


def stamped(images: Tensor, size: int, white: int) -> Tensor:
    """Copies of images `[..., h, w]` whose last `size` rows and columns meet in a square of the value `white`."""
    changed = images.clone()
    changed[..., -size:, -size:] = white
    return changed
