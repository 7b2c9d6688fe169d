"""AlexNet with batch normalisation, written over lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.models.checks import check_bn, check_units
from splitmix.models.layers import LaneConv2d, LaneLinear, unfold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.normalised import normalised

CHANNELS = (64, 192, 384, 256, 256)
HIDDEN = (4096, 4096)
POOLED = 6


@dataclass(frozen=True)
class AlexNet:
    """Settings of `model=alexnet`.

    Krizhevsky et al., NIPS 2012, with batch normalisation after every hidden layer, as Li et al., "FedBN", ICLR 2021,
    and Hong et al., ICLR 2022, use it for DomainNet: 64, 192, 384, 256, 256 channels, then twice 4096 hidden units, at
    width 1.

    Attributes:
        bn: `batch` (statistics of the batch at hand, at test too), `tracked` (running statistics) or `local`
            (tracked, and all of batch normalisation stays with the client).
    """

    name: ClassVar[str] = "alexnet"

    bn: str = "batch"

    def check(self, input_shape: tuple[int, int, int], width: float) -> None:
        """Raise UserError for an unknown BN mode, images under 63x63 pixels, or a width that leaves a layer empty."""
        check_bn(self.bn)
        if min(input_shape[1:]) < 63:
            raise UserError(
                f"model=alexnet needs images of at least 63x63 pixels, the dataset has {input_shape[1:]}; use"
                " model=preresnet18 or model=digit_cnn"
            )
        check_units(self.name, width, min(CHANNELS))

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork:
        return AlexNetNetwork(lanes, spec)


class AlexNetNetwork(LaneNetwork):
    """[conv, BN, ReLU] x 5, max-pooling after 1, 2 and 5; average pool to 6x6; [linear, BN, ReLU] x 2, linear."""

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__(lanes)
        self.features = Features(lanes, spec)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = Classifier(lanes, spec)

    def forward(self, x: Tensor) -> Tensor:
        return unfold_lanes(self.classifier(self.avgpool(self.features(x)).flatten(1)), self.lanes)


class Features(nn.Module):
    """The convolutions."""

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__()
        c1, c2, c3, c4, c5 = (spec.units(full) for full in CHANNELS)
        scale, init = spec.layer_scale, spec.init_scale
        self.conv1 = LaneConv2d(lanes, spec.input_shape[0], c1, 11, 4, 2, rescale=scale)
        self.bn1 = spec.batch_norm(lanes, c1)
        self.conv2 = LaneConv2d(lanes, c1, c2, 5, 1, 2, rescale=scale, init_width=init)
        self.bn2 = spec.batch_norm(lanes, c2)
        self.conv3 = LaneConv2d(lanes, c2, c3, 3, 1, 1, rescale=scale, init_width=init)
        self.bn3 = spec.batch_norm(lanes, c3)
        self.conv4 = LaneConv2d(lanes, c3, c4, 3, 1, 1, rescale=scale, init_width=init)
        self.bn4 = spec.batch_norm(lanes, c4)
        self.conv5 = LaneConv2d(lanes, c4, c5, 3, 1, 1, rescale=scale, init_width=init)
        self.bn5 = spec.batch_norm(lanes, c5)

    def forward(self, x: Tensor) -> Tensor:
        # ReLU and max-pooling commute; pooling first leaves fewer elements to rectify.
        x = F.max_pool2d(normalised(self.conv1, self.bn1, x), 3, 2).relu_()
        x = F.max_pool2d(normalised(self.conv2, self.bn2, x), 3, 2).relu_()
        x = normalised(self.conv3, self.bn3, x).relu_()
        x = normalised(self.conv4, self.bn4, x).relu_()
        return F.max_pool2d(normalised(self.conv5, self.bn5, x), 3, 2).relu_()


class Classifier(nn.Module):
    """The linear layers."""

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__()
        h1, h2 = (spec.units(full) for full in HIDDEN)
        scale, init = spec.layer_scale, spec.init_scale
        channels, pixels = spec.units(CHANNELS[-1]), POOLED * POOLED
        self.fc1 = LaneLinear(lanes, channels * pixels, h1, rescale=scale, init_width=init, positions=pixels)
        self.bn6 = spec.batch_norm(lanes, h1)
        self.fc2 = LaneLinear(lanes, h1, h2, rescale=scale, init_width=init)
        self.bn7 = spec.batch_norm(lanes, h2)
        self.fc3 = LaneLinear(lanes, h2, spec.classes, init_width=init)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn6(self.fc1(x)).relu_()
        x = self.bn7(self.fc2(x)).relu_()
        logits: Tensor = self.fc3(x)
        return logits
