"""The digit CNN of the paper (three 5x5 convolutions, three linear layers), written over lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from splitmix.errors import UserError
from splitmix.models.layers import LaneConv2d, LaneLinear, unfold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec, check_bn, check_units

CHANNELS = (64, 64, 128)
HIDDEN = (2048, 512)


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
    """[conv, BN, ReLU] x 3 with 2x2 max-pooling after the first two, [linear, BN, ReLU] x 2, linear."""

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__(lanes)
        channels, height, width = spec.input_shape
        c1, c2, c3 = (spec.units(full) for full in CHANNELS)
        h1, h2 = (spec.units(full) for full in HIDDEN)
        scale, init = spec.layer_scale, spec.init_scale
        self.conv1 = LaneConv2d(lanes, channels, c1, 5, padding=2, rescale=scale)
        self.bn1 = spec.batch_norm(lanes, c1)
        self.conv2 = LaneConv2d(lanes, c1, c2, 5, padding=2, rescale=scale, init_width=init)
        self.bn2 = spec.batch_norm(lanes, c2)
        self.conv3 = LaneConv2d(lanes, c2, c3, 5, padding=2, rescale=scale, init_width=init)
        self.bn3 = spec.batch_norm(lanes, c3)
        pixels = (height // 4) * (width // 4)
        self.fc1 = LaneLinear(lanes, c3 * pixels, h1, rescale=scale, init_width=init, positions=pixels)
        self.bn4 = spec.batch_norm(lanes, h1)
        self.fc2 = LaneLinear(lanes, h1, h2, rescale=scale, init_width=init)
        self.bn5 = spec.batch_norm(lanes, h2)
        self.fc3 = LaneLinear(lanes, h2, spec.classes, init_width=init)

    def forward(self, x: Tensor) -> Tensor:
        # ReLU and max-pooling commute; pooling first leaves a quarter of the elements to rectify.
        x = F.max_pool2d(self.bn1(self.conv1(x)), 2).relu_()
        x = F.max_pool2d(self.bn2(self.conv2(x)), 2).relu_()
        x = self.bn3(self.conv3(x)).relu_().flatten(1)
        x = self.bn4(self.fc1(x)).relu_()
        x = self.bn5(self.fc2(x)).relu_()
        return unfold_lanes(self.fc3(x), self.lanes)
