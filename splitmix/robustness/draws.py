"""Randomness of an attack: every block of images draws from a stream of its own, whatever it is attacked with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitmix.on_device import on_device


@dataclass(frozen=True)
class Draws:
    """Streams of consecutive blocks of images: a client's batch, or a lane's.

    Attributes:
        streams: one for each block.
        sizes: number of images of each block.
    """

    streams: Sequence[np.random.Generator]
    sizes: Sequence[int]

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers in [0, 1), shaped as `like`, `[sum(sizes), ...]`."""
        return self.joined(np.random.Generator.random, like)

    def normal(self, like: Tensor) -> Tensor:
        """Numbers of the standard normal distribution, likewise."""
        return self.joined(np.random.Generator.standard_normal, like)

    def joined(self, draw: Callable[..., Any], like: Tensor) -> Tensor:
        """What each stream draws for its images, one after another."""
        blocks = zip(self.streams, self.sizes, strict=True)
        parts = [draw(stream, (size, *like.shape[1:]), dtype=np.float32) for stream, size in blocks]
        return on_device(torch.from_numpy(np.concatenate(parts)), like.device, like.dtype)

    def seed(self) -> int:
        """A whole number for libraries that seed themselves."""
        return int(self.streams[0].integers(2**31))
