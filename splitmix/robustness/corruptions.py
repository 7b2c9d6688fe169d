"""Common corruptions of images: noise, blur, light and compression, each in five severities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg
from torchvision.transforms.functional import gaussian_blur

from splitmix.binding import nearest
from splitmix.errors import UserError
from splitmix.robustness.ascent import Classifier
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws

SEVERITIES = (1, 2, 3, 4, 5)
ALL = "all"
"""What stands for every kind."""


@dataclass(frozen=True)
class Corruption(Attack):
    """Images as a bad camera or channel would give them, whatever the model.

    The kinds and strengths are those of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations", ICLR 2019, for images of 32x32 pixels (CIFAR-10-C): the eight kinds that need no
    pictures or programs beside the image itself.

    Attributes:
        kind: one of `STRENGTHS`.
        severity: 1 to 5.
    """

    name: ClassVar[str] = "corruption"

    kind: str = "gaussian_noise"
    severity: int = 1

    @property
    def gradients(self) -> int:
        return 0

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        corrupt, strengths = STRENGTHS[self.kind]
        return corrupt(images, strengths[self.severity - 1], draws).clamp(0, 1)


def gaussian_noise(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Normal noise of this standard deviation, in the pixel range [0, 1]."""
    return images + strength * drawn(images, draws, lambda stream, image: stream.standard_normal(image.shape))


def shot_noise(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """As few photons as `strength` at a white pixel: Poisson noise."""
    return drawn(images, draws, lambda stream, image: stream.poisson(image * strength) / strength)


def impulse_noise(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """This share of all values becomes black or white."""
    uniform = draws.uniform(images)
    return torch.where(uniform < strength / 2, 0.0, torch.where(uniform < strength, 1.0, images))


def blur(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """A Gaussian of this standard deviation, in pixels."""
    return gaussian_blur(images, [2 * int(4 * strength + 0.5) + 1] * 2, [strength] * 2)


def brightness(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """The value of every pixel (its largest channel) rises by so much, hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    brighter = (value + strength).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp(min=1e-6), brighter)


def contrast(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Differences from each channel's mean shrink to this share."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + strength * (images - mean)


def pixelate(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Shrunk to this share of the size, and enlarged again without smoothing."""
    size = list(images.shape[2:])
    small = F.interpolate(images, [max(int(side * strength), 1) for side in size], mode="area")
    return F.interpolate(small, size, mode="nearest")


def jpeg(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Compressed with this JPEG quality, 1 to 100, and decoded again."""
    mode = ImageReadMode.RGB if images.shape[1] == 3 else ImageReadMode.GRAY
    # torchvision compresses bytes in the processor's memory.
    pixels = (images * 255).round().to(torch.uint8).cpu()
    files = [encode_jpeg(image, quality=int(strength)) for image in pixels]
    return torch.stack([decode_jpeg(file, mode) for file in files]).to(images) / 255


def drawn(images: Tensor, draws: Draws, sample: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Tensor:
    """What `sample` draws for each block of images from the block's own stream, shaped as the images."""
    parts = images.detach().cpu().numpy().astype(np.float64)
    ends = np.cumsum(draws.sizes)
    blocks = np.split(parts, ends[:-1])
    values = [sample(stream, block) for stream, block in zip(draws.streams, blocks, strict=True)]
    return torch.from_numpy(np.concatenate(values)).to(images)


STRENGTHS: dict[str, tuple[Callable[[Tensor, float, Draws], Tensor], tuple[float, ...]]] = {
    "gaussian_noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": (blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": (contrast, (0.75, 0.50, 0.40, 0.30, 0.15)),
    "pixelate": (pixelate, (0.95, 0.90, 0.85, 0.75, 0.65)),
    "jpeg": (jpeg, (80, 65, 58, 50, 40)),
}
"""The function of each kind, and its strength at severities 1 to 5."""


def kinds(names: Sequence[str]) -> tuple[str, ...]:
    """The kinds that these names mean, `all` being every one of them.

    Raises:
        UserError: a name that is none.
    """
    for name in names:
        if name not in (*STRENGTHS, ALL):
            known = ", ".join((*STRENGTHS, ALL))
            raise UserError(f"test.corruptions={name}: no such corruption{nearest(name, STRENGTHS)}; known: {known}")
    return tuple(STRENGTHS) if ALL in names else tuple(dict.fromkeys(names))
