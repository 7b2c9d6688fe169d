"""Training-time augmentation of whole batches: every pixel of an augmented image is a pixel of its source, or black."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from splitmix.on_device import on_device


class Augmentation(Protocol):
    """Where each pixel of a batch comes from."""

    def sources(self, n: int, height: int, width: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Rows and columns of the source pixels, int64, broadcastable to `[n, height, width]`; outside means black."""
        ...


@dataclass(frozen=True)
class CropFlip:
    """A random crop of the image padded with `padding` black pixels on every side, then a horizontal flip by lot."""

    padding: int = 4

    @classmethod
    def of_size(cls, image_size: int) -> CropFlip:
        """Padding by an eighth of the images' height and width, at least one pixel."""
        return cls(max(image_size // 8, 1))

    def sources(self, n: int, height: int, width: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        offsets = torch.from_numpy(generator.integers(-self.padding, self.padding + 1, (2, n, 1)))
        flip = torch.from_numpy(generator.integers(0, 2, (n, 1)).astype(bool))
        rows = offsets[0] + torch.arange(height)
        columns = offsets[1] + torch.where(flip, torch.arange(width - 1, -1, -1), torch.arange(width))
        return rows.unsqueeze(2), columns.unsqueeze(1)


@dataclass(frozen=True)
class FlipRotate:
    """A horizontal flip by lot, then a rotation by up to `degrees` either way about the middle: nearest pixel."""

    degrees: float = 30.0

    def sources(self, n: int, height: int, width: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        flip = torch.from_numpy(generator.integers(0, 2, (n, 1, 1)).astype(bool))
        angle = torch.from_numpy(generator.uniform(-self.degrees, self.degrees, (n, 1, 1)).astype(np.float32))
        cos, sin = torch.cos(angle * math.pi / 180), torch.sin(angle * math.pi / 180)
        y = (torch.arange(height) - (height - 1) / 2).view(1, -1, 1)
        x = (torch.arange(width) - (width - 1) / 2).view(1, 1, -1)
        # A positive angle turns counter-clockwise, as in PIL.
        columns = torch.round(cos * x - sin * y + (width - 1) / 2).long()
        rows = torch.round(sin * x + cos * y + (height - 1) / 2).long()
        return rows, torch.where(flip, width - 1 - columns, columns)


def augment(images: Tensor, augmentation: Augmentation, generators: Sequence[np.random.Generator]) -> Tensor:
    """Augment images `[n, channels, height, width]`, uint8 or float, each with draws of its own.

    Args:
        generators: the only sources of randomness, one for each equal share of the images, in order; equal generators
            give equal images on every device.
    """
    n, channels, height, width = images.shape
    drawn = [augmentation.sources(n // len(generators), height, width, generator) for generator in generators]
    rows, columns = torch.cat([rows for rows, _ in drawn]), torch.cat([columns for _, columns in drawn])
    # A frame of one black pixel, to which everything outside points.
    index = (rows.clamp(-1, height) + 1) * (width + 2) + 1 + columns.clamp(-1, width)
    index = on_device(index.view(n, 1, -1), images.device)
    framed = images.new_zeros(n, channels, height + 2, width + 2)
    framed[:, :, 1:-1, 1:-1] = images
    picked = framed.flatten(2).gather(2, index.expand(n, channels, -1))
    return picked.view(n, channels, height, width)
