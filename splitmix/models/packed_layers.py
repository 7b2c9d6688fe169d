"""Lane layers that only networks of ordinary modules have: group and layer normalisation, dropout, concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.models.layers import fold_lanes, unfold_lanes


class LaneGroupNorm(nn.Module):
    """Group normalisation per lane. Weight and bias `[lanes, channels]`, or none."""

    def __init__(self, lanes: int, channels: int, groups: int, eps: float, affine: bool, bias: bool = True):
        super().__init__()
        self.group_size = channels // groups
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(lanes, channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(lanes, channels)) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (None if value is None else value.flatten() for value in (self.weight, self.bias))
        return F.group_norm(x, x.shape[1] // self.group_size, weight, bias, self.eps)


class LaneLayerNorm(nn.Module):
    """Layer normalisation of all features of an image, per lane. Weight and bias `[lanes, features, ...]`, or none.

    Args:
        shape: of the features, without the batch.
    """

    def __init__(self, lanes: int, shape: Sequence[int], eps: float, affine: bool, bias: bool = True):
        super().__init__()
        self.features = shape[0]
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(lanes, *shape)) if affine else None
        self.bias = nn.Parameter(torch.zeros(lanes, *shape)) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.group_norm(x, x.shape[1] // self.features, eps=self.eps)
        if self.weight is not None:
            x = x * self.weight.flatten(0, 1)
        return x if self.bias is None else x + self.bias.flatten(0, 1)


class LaneDropout(nn.Module):
    """Dropout per lane: a lane draws the same, whichever lanes are packed with it.

    Args:
        p: share that is dropped, in [0, 1].
        features: features of one lane, dimension 1.
        channels: drop whole channels.

    Attributes:
        seeds: one per lane, see `draw_from`; without, PyTorch's own generator is used.
    """

    def __init__(self, p: float, features: int, channels: bool = False):
        super().__init__()
        self.p, self.features, self.channels = p, features, channels
        self.seeds: list[int] = []

    def draw_from(self, streams: Sequence[np.random.Generator]) -> None:
        """Take new seeds, one from each lane's stream."""
        self.seeds = [int(stream.integers(1 << 62)) for stream in streams]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        shape = (len(x), self.features, *([1] * (x.dim() - 2) if self.channels else x.shape[2:]))
        seeds: Sequence[int | None] = self.seeds or [None] * (x.shape[1] // self.features)
        draws = [torch.rand(shape, generator=generator_of(seed, x.device), device=x.device) for seed in seeds]
        # An attack asks several times in one step.
        self.seeds = [seed + 1 for seed in self.seeds]
        return x * (torch.cat(draws, 1) >= self.p) * (0.0 if self.p == 1 else 1 / (1 - self.p))


def generator_of(seed: int | None, device: torch.device) -> torch.Generator | None:
    """A generator with this seed; None stands for PyTorch's own."""
    return None if seed is None else torch.Generator(device).manual_seed(seed)


def lane_cat(tensors: Sequence[Tensor], features: int) -> Tensor:
    """Concatenation in dimension 1, lane by lane; the first tensor has so many `features` per lane."""
    lanes = tensors[0].shape[1] // features
    return torch.cat([x.unflatten(1, (lanes, -1)) for x in tensors], 2).flatten(1, 2)


def lane_softmax(x: Tensor, classes: int) -> Tensor:
    """Softmax of every lane, `[n, lanes * classes]`."""
    return fold_lanes(unfold_lanes(x, x.shape[1] // classes).softmax(-1))


def lane_log_softmax(x: Tensor, classes: int) -> Tensor:
    """The logarithm of the softmax of every lane, `[n, lanes * classes]`."""
    return fold_lanes(unfold_lanes(x, x.shape[1] // classes).log_softmax(-1))


def reshaped(x: Tensor, rest: Sequence[int]) -> Tensor:
    """The same values, batch and features left alone, in the shape `rest` behind them."""
    return x.reshape(x.shape[0], x.shape[1], *rest)
