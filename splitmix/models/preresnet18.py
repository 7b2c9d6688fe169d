"""PreResNet-18 (pre-activation residual network for small images), written over lanes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.models.checks import check_bn, check_units
from splitmix.models.exits import of_exits
from splitmix.models.layers import LaneConv2d, LaneLinear, unfold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.normalised import normalised
from splitmix.models.residual import StepSize

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
    stages: ClassVar[int] = len(STAGES)
    skippable: ClassVar[tuple[str, ...]] = tuple(
        f"layer{stage}.{block}" for stage in range(1, len(STAGES) + 1) for block in range(1, BLOCKS)
    )

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
    """Stem, four stages, BN, ReLU, average pool, linear. Every other exit has a head like that one.

    Attributes:
        exits, ensemble: as in `NetworkSpec`; the ordinary network has its exit after the fourth stage.
    """

    def __init__(self, lanes: int, spec: NetworkSpec):
        super().__init__(lanes)
        self.exits, self.ensemble = spec.exits or (len(STAGES),), spec.ensemble
        channels = [spec.units(full) for full in STAGES[: self.exits[-1]]]
        self.conv1 = LaneConv2d(
            lanes, spec.input_shape[0], channels[0], 3, padding=1, bias=False, rescale=spec.layer_scale
        )
        for number, (before, after) in enumerate(zip([channels[0], *channels[:-1]], channels, strict=True), 1):
            blocks = {"0": Block(lanes, before, after, spec, stride=1 if number == 1 else 2)}
            for block in map(str, range(1, BLOCKS)):
                if f"layer{number}.{block}" not in spec.skipped:
                    blocks[block] = Block(lanes, after, after, spec)
            self.add_module(f"layer{number}", nn.Sequential(OrderedDict(blocks)))
        if len(STAGES) in self.exits:
            self.n4 = spec.batch_norm(lanes, channels[-1])
            self.linear = LaneLinear(lanes, channels[-1], spec.classes, init_width=spec.init_scale, zero_bias=True)
        # Behind all else, so that the rest begins with the weights of the ordinary network.
        if early := [stage for stage in self.exits if stage < len(STAGES)]:
            self.heads = nn.ModuleDict({str(stage): Head(lanes, channels[stage - 1], spec) for stage in early})

    def forward(self, x: Tensor) -> Tensor:
        return of_exits(self.exit_logits(x), self.ensemble)

    def exit_logits(self, images: Tensor) -> list[Tensor]:
        x, logits = self.conv1(images), []
        for stage in range(1, self.exits[-1] + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            if stage in self.exits:
                logits.append(self.after(stage, x))
        return logits

    def after(self, stage: int, x: Tensor) -> Tensor:
        """The logits of the exit after a stage, `[lanes, n, classes]`, given the stage's output."""
        if stage < len(STAGES):
            return unfold_lanes(self.heads[str(stage)](x), self.lanes)
        return unfold_lanes(self.linear(self.n4(x).relu_().mean((2, 3))), self.lanes)


class Head(nn.Module):
    """BN, ReLU, average pool, linear: an exit before the last."""

    def __init__(self, lanes: int, channels: int, spec: NetworkSpec):
        super().__init__()
        self.norm = spec.batch_norm(lanes, channels)
        self.linear = LaneLinear(lanes, channels, spec.classes, init_width=spec.init_scale, zero_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(x).relu_().mean((2, 3)))
        return logits


class Block(nn.Module):
    """BN, ReLU, 3x3 convolution, BN, ReLU, 3x3 convolution, plus a shortcut.

    The shortcut is the raw input; where the block halves the image, a 1x1 projection of the first BN and ReLU's output.
    With step sizes the second convolution's output counts as often as the block's own says.
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
        self.step = StepSize(lanes) if spec.steps else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.n1(x).relu_()
        shortcut = x if self.shortcut is None else self.shortcut(out)
        added: Tensor = self.step(self.conv2(normalised(self.conv1, self.n2, out).relu_()))
        return added + shortcut
