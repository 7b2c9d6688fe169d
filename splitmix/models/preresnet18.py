"""PreResNet-18 (pre-activation residual network for small images), written over lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.models.layers import LaneConv2d, LaneLinear, unfold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec, check_bn, check_units

STAGES = (64, 128, 256, 512)
BLOCKS = 2


@dataclass(frozen=True)
class PreResNet18:
    """Settings of `model=preresnet18`.

    He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, as used by Hong et al., ICLR 2022, for
    CIFAR-10: a 3x3 stem, then stages of 64, 128, 256 and 512 channels with two blocks each, at width 1.

    Attributes:
        bn: `batch` (statistics of the batch at hand, at test too), `tracked` (running statistics) or `local`
            (tracked, and all of batch normalisation stays with the client).
    """

    name: ClassVar[str] = "preresnet18"

    bn: str = "batch"

    def check(self, input_shape: tuple[int, int, int], width: float) -> None:
        """Raise UserError for an unknown BN mode, images under 16x16 pixels, or a width that leaves a layer empty."""
        check_bn(self.bn)
        if min(input_shape[1:]) < 16:
            raise UserError(
                f"model=preresnet18 needs images of at least 16x16 pixels, the dataset has {input_shape[1:]}; use"
                " model=digit_cnn"
            )
        check_units(self.name, width, min(STAGES))

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork:
        return PreResNet18Network(lanes, spec)


class PreResNet18Network(LaneNetwork):
    """Stem, four stages, BN, ReLU, average pool, linear."""

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__(lanes)
        channels = [spec.units(full) for full in STAGES]
        self.conv1 = LaneConv2d(
            lanes, spec.input_shape[0], channels[0], 3, padding=1, bias=False, rescale=spec.layer_scale
        )
        stages = []
        for number, (before, after) in enumerate(zip([channels[0], *channels[:-1]], channels, strict=True)):
            first = Block(lanes, before, after, spec, stride=1 if number == 0 else 2)
            stages.append(nn.Sequential(first, *(Block(lanes, after, after, spec) for _ in range(BLOCKS - 1))))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.n4 = spec.batch_norm(lanes, channels[-1])
        self.linear = LaneLinear(lanes, channels[-1], spec.classes, init_width=spec.init_scale, zero_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        x = self.n4(x).relu_().mean((2, 3))
        return unfold_lanes(self.linear(x), self.lanes)


class Block(nn.Module):
    """BN, ReLU, 3x3 convolution, BN, ReLU, 3x3 convolution, plus a shortcut.

    The shortcut is the raw input; where the block halves the image, a 1x1 projection of the first BN and ReLU's output.
    """

    def __init__(self, lanes: int, before: int, after: int, spec: NetworkSpec, stride: int = 1):
        super().__init__()
        scale, init = spec.layer_scale, spec.init_scale
        self.n1 = spec.batch_norm(lanes, before)
        self.conv1 = LaneConv2d(lanes, before, after, 3, stride, 1, bias=False, rescale=scale, init_width=init)
        self.n2 = spec.batch_norm(lanes, after)
        self.conv2 = LaneConv2d(lanes, after, after, 3, 1, 1, bias=False, rescale=scale, init_width=init)
        self.shortcut = (
            None
            if stride == 1
            else LaneConv2d(lanes, before, after, 1, stride, bias=False, rescale=scale, init_width=init)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.n1(x).relu_()
        shortcut = x if self.shortcut is None else self.shortcut(out)
        return self.conv2(self.n2(self.conv1(out)).relu_()) + shortcut
