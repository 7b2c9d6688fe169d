"""The digit CNN of the paper (three 5x5 convolutions, three linear layers), written over lanes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.models.checks import check_bn, check_units
from splitmix.models.exits import of_exits
from splitmix.models.layers import LaneConv2d, LaneLinear, unfold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.normalised import normalised

CHANNELS = (64, 64, 128)
HIDDEN = (2048, 512)
GRID, HEAD = 4, 64
"""Of an early exit: rows and columns, at most, that it sees of an image; its hidden units at width 1."""


@dataclass(frozen=True)
class DigitCNN:
    """Settings of `model=digit_cnn`.

    Li et al., "FedBN", ICLR 2021, as used by Hong et al., ICLR 2022, for the Digits benchmark: 64, 64 and 128
    channels, then 2048 and 512 hidden units, at width 1.

    Attributes:
        bn: `batch` (statistics of the batch at hand, at test too), `tracked` (running statistics) or `local`
            (tracked, and all of batch normalisation stays with the client).
    """

    name: ClassVar[str] = "digit_cnn"
    stages: ClassVar[int] = len(CHANNELS) + 1

    bn: str = "batch"

    def check(self, input_shape: tuple[int, int, int], width: float) -> None:
        """Raise UserError for an unknown BN mode, images under 4x4 pixels, or a width that leaves a layer empty."""
        check_bn(self.bn)
        if min(input_shape[1:]) < 4:
            raise UserError(f"model=digit_cnn needs images of at least 4x4 pixels, the dataset has {input_shape[1:]}")
        check_units(self.name, width, min(CHANNELS))

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork:
        return DigitCNNNetwork(lanes, spec)


class DigitCNNNetwork(LaneNetwork):
    """[conv, BN, ReLU] x 3 with 2x2 max-pooling after the first two, [linear, BN, ReLU] x 2, linear.

    An exit may stand after each convolution block, with a small head of the same kind, and at the end.

    Attributes:
        exits, ensemble: as in `NetworkSpec`; the ordinary network has its exit at the end, after the fourth stage.
    """

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__(lanes)
        last = len(CHANNELS) + 1
        self.exits, self.ensemble = spec.exits or (last,), spec.ensemble
        channels = [spec.input_shape[0], *(spec.units(full) for full in CHANNELS)]
        scale, init = spec.layer_scale, spec.init_scale
        pixels = math.prod(sides_after(len(CHANNELS), spec))
        for stage in range(1, min(self.exits[-1], len(CHANNELS)) + 1):
            before, after = channels[stage - 1], channels[stage]
            inner = 1.0 if stage == 1 else init
            conv = LaneConv2d(lanes, before, after, 5, padding=2, rescale=scale, init_width=inner)
            self.add_module(f"conv{stage}", conv)
            self.add_module(f"bn{stage}", spec.batch_norm(lanes, after))
        if last in self.exits:
            h1, h2 = (spec.units(full) for full in HIDDEN)
            inputs = channels[-1] * pixels
            self.fc1 = LaneLinear(lanes, inputs, h1, rescale=scale, init_width=init, positions=pixels)
            self.bn4 = spec.batch_norm(lanes, h1)
            self.fc2 = LaneLinear(lanes, h1, h2, rescale=scale, init_width=init)
            self.bn5 = spec.batch_norm(lanes, h2)
            self.fc3 = LaneLinear(lanes, h2, spec.classes, init_width=init)
        # Behind all else, so that the rest begins with the weights of the ordinary network.
        if early := [stage for stage in self.exits if stage < last]:
            self.heads = nn.ModuleDict({str(stage): Head(lanes, channels[stage], stage, spec) for stage in early})

    def forward(self, x: Tensor) -> Tensor:
        return of_exits(self.exit_logits(x), self.ensemble)

    def exit_logits(self, images: Tensor) -> list[Tensor]:
        x, logits = images, []
        for stage in range(1, self.exits[-1] + 1):
            x = self.stage(stage, x)
            if stage in self.exits:
                logits.append(unfold_lanes(self.after(stage, x), self.lanes))
        return logits

    def stage(self, stage: int, x: Tensor) -> Tensor:
        """The output of a stage, given that of the one before."""
        if stage > len(CHANNELS):
            x = self.bn4(self.fc1(x.flatten(1))).relu_()
            return self.bn5(self.fc2(x)).relu_()
        x = normalised(self.get_submodule(f"conv{stage}"), self.get_submodule(f"bn{stage}"), x)
        # ReLU and max-pooling commute; pooling first leaves a quarter of the elements to rectify.
        return (F.max_pool2d(x, 2) if stage < len(CHANNELS) else x).relu_()

    def after(self, stage: int, x: Tensor) -> Tensor:
        """What the exit after a stage makes of the stage's output, `[n, lanes * classes]`."""
        logits: Tensor = self.heads[str(stage)](x) if stage <= len(CHANNELS) else self.fc3(x)
        return logits


class Head(nn.Module):
    """Means over a grid, linear, BN, ReLU, linear: an exit after a convolution block."""

    def __init__(self, lanes: int, channels: int, stage: int, spec: NetworkSpec):
        super().__init__()
        sides, hidden, init = sides_after(stage, spec), spec.units(HEAD), spec.init_scale
        self.window = [-(-side // GRID) for side in sides]
        cells = math.prod(-(-side // size) for side, size in zip(sides, self.window, strict=True))
        self.fc1 = LaneLinear(
            lanes, channels * cells, hidden, rescale=spec.layer_scale, init_width=init, positions=cells
        )
        self.bn = spec.batch_norm(lanes, hidden)
        self.fc2 = LaneLinear(lanes, hidden, spec.classes, init_width=init)

    def forward(self, x: Tensor) -> Tensor:
        # The windows at the lower and right edges may be smaller.
        x = F.avg_pool2d(x, self.window, ceil_mode=True).flatten(1)
        logits: Tensor = self.fc2(self.bn(self.fc1(x)).relu_())
        return logits


def sides_after(stage: int, spec: NetworkSpec) -> list[int]:
    """Rows and columns of an image after a convolution block."""
    return [side // (2 if stage == 1 else 4) for side in spec.input_shape[1:]]
