"""A small vision transformer whose heads are the width, written over lanes; it has no batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.checks import check_units
from splitmix.models.exits import of_exits
from splitmix.models.layers import LaneConv2d
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.residual import TokenStepSize
from splitmix.models.tokens import Positions, TokenLinear

MLP_RATIO = 4
"""Hidden units of a block's second half per channel of the tokens."""
MOST = 256
"""More pixels of a patch's side, blocks, heads or channels of a head are taken for a mistake."""


@dataclass(frozen=True)
class ViT:
    """Settings of `model=vit`.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv 2010.11929), with layer normalisation before
    attention and before the hidden layer. Different from the paper: the mean of the tokens is classified instead of a
    class token (Beyer, Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022), positions begin
    larger, and there is no dropout.

    The width is a share of the heads, of the channels of the tokens and of the hidden units; a head keeps its size. It
    has no batch normalisation: no prediction depends on the other images of its batch, in training neither.

    Attributes:
        patch: side of a patch in pixels; it divides both sides of an image.
        blocks: number of blocks, each attention and a hidden layer; also the number of stages that an exit may follow.
        heads: heads of attention at width 1.
        head_size: channels of a head. At width 1 tokens have `heads * head_size` channels.
    """

    name: ClassVar[str] = "vit"
    bn: ClassVar[str] = "batch"
    """No running statistics, since there is no batch normalisation."""

    patch: int = 4
    blocks: int = 4
    heads: int = 8
    head_size: int = 32

    @property
    def stages(self) -> int:
        return self.blocks

    @property
    def skippable(self) -> tuple[str, ...]:
        return tuple(f"blocks.{block}" for block in range(1, self.blocks))

    def check(self, input_shape: tuple[int, int, int], width: float) -> None:
        """Raise UserError for sizes out of range, images of no whole number of patches, a width without a head."""
        for key in ("patch", "blocks", "heads", "head_size"):
            if not 1 <= getattr(self, key) <= MOST:
                raise UserError(f"model.{key}={shown(getattr(self, key))}: give a number from 1 to {MOST}")
        if any(side % self.patch for side in input_shape[1:]):
            raise UserError(
                f"model.patch={self.patch}: does not divide the images of {input_shape[1]}x{input_shape[2]} pixels;"
                " choose a side of patches that divides both"
            )
        check_units(self.name, width, self.heads)

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork:
        return ViTNetwork(lanes, self, spec)


class ViTNetwork(LaneNetwork):
    """Patches, positions, blocks, layer normalisation, mean over tokens, linear. Other exits have a head like that one.

    Tokens are `[lanes, n * tokens, channels]`, those of an image side by side.

    In training `rescale_layer` divides what is added up in the tokens (patches, positions, both outputs of a block), so
    that the next layer normalisation takes it out again, as batch normalisation does elsewhere. Queries, keys, values
    and hidden units are not divided: no norm follows them, and without one a division in training alone would make
    another network of it in eval mode.

    Attributes:
        exits, ensemble: as in `NetworkSpec`; the ordinary network has its exit after the last block.
    """

    def __init__(self, lanes: int, model: ViT, spec: NetworkSpec):
        super().__init__(lanes)
        self.exits, self.ensemble = spec.exits or (model.blocks,), spec.ensemble
        channels = spec.units(model.heads * model.head_size)
        tokens = spec.input_shape[1] // model.patch * (spec.input_shape[2] // model.patch)
        self.patches = LaneConv2d(
            lanes, spec.input_shape[0], channels, model.patch, stride=model.patch, rescale=spec.layer_scale
        )
        self.positions = Positions(lanes, tokens, channels, spec.layer_scale)
        self.blocks = nn.ModuleDict(
            {
                str(block): Block(lanes, channels, spec.units(model.heads), model, spec)
                for block in range(self.exits[-1])
                if f"blocks.{block}" not in spec.skipped
            }
        )
        if model.blocks in self.exits:
            self.norm = spec.layer_norm(lanes, channels)
            self.linear = TokenLinear(lanes, channels, spec.classes, init_width=spec.init_scale, zero_bias=True)
        # Behind all else, so that the rest begins with the weights of the ordinary network.
        self.last = model.blocks
        if early := [stage for stage in self.exits if stage < self.last]:
            self.heads = nn.ModuleDict({str(stage): Head(lanes, channels, spec) for stage in early})

    def reset_parameters(self, generator: torch.Generator) -> None:
        self.positions.reset_parameters(generator)
        super().reset_parameters(generator)

    def forward(self, x: Tensor) -> Tensor:
        return of_exits(self.exit_logits(x), self.ensemble)

    def exit_logits(self, images: Tensor) -> list[Tensor]:
        patches = self.patches(images).flatten(2).unflatten(1, (self.lanes, -1))
        x, logits = self.positions(patches.permute(1, 0, 3, 2)), []
        tokens = x.shape[2]
        x = x.flatten(1, 2)
        for stage in range(1, self.exits[-1] + 1):
            if (block := str(stage - 1)) in self.blocks:
                x = self.blocks[block](x, tokens)
            if stage in self.exits:
                logits.append(self.after(stage, x, tokens))
        return logits

    def after(self, stage: int, x: Tensor, tokens: int) -> Tensor:
        """The logits of the exit after a stage, `[lanes, n, classes]`, given the stage's output."""
        logits: Tensor = (
            self.heads[str(stage)](x, tokens)
            if stage < self.last
            else self.linear(mean_of_tokens(self.norm(x), tokens))
        )
        return logits


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); with step sizes each addend times its own."""

    def __init__(self, lanes: int, channels: int, heads: int, model: ViT, spec: NetworkSpec):
        super().__init__()
        scale, init = spec.layer_scale, spec.init_scale
        self.norm1 = spec.layer_norm(lanes, channels)
        self.attention = Attention(lanes, channels, heads, model.head_size, scale, init)
        self.norm2 = spec.layer_norm(lanes, channels)
        hidden = spec.units(MLP_RATIO * model.heads * model.head_size)
        self.fc1 = TokenLinear(lanes, channels, hidden, init_width=init)
        self.fc2 = TokenLinear(lanes, hidden, channels, rescale=scale, init_width=init)
        self.step1, self.step2 = (TokenStepSize(lanes) if spec.steps else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        x = x + self.step1(self.attention(self.norm1(x), tokens))
        out: Tensor = x + self.step2(self.fc2(F.gelu(self.fc1(self.norm2(x)))))
        return out


class Attention(nn.Module):
    """Every head of every lane looks by itself at the tokens of an image.

    The outputs of `qkv` are ordered by head, then query, key and value: the first heads are the first outputs, so that
    a slice of the heads takes queries, keys, values and the inputs of `proj` alike.
    """

    def __init__(self, lanes: int, channels: int, heads: int, size: int, scale: float, init: float):
        super().__init__()
        self.size = size
        self.qkv = TokenLinear(lanes, channels, heads * 3 * size, init_width=init, unit=3 * size)
        self.proj = TokenLinear(lanes, heads * size, channels, rescale=scale, init_width=init, positions=size)

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        heads = self.qkv(x).unflatten(1, (-1, tokens)).unflatten(3, (-1, 3, self.size))
        query, key, value = heads.permute(4, 0, 1, 3, 2, 5).unbind(0)  # [lanes, n, heads, tokens, size] each
        weights = ((query * self.size**-0.5) @ key.mT).softmax(-1)
        out: Tensor = self.proj((weights @ value).transpose(2, 3).flatten(3).flatten(1, 2))
        return out


class Head(nn.Module):
    """Layer normalisation, mean over tokens, linear: an exit before the last."""

    def __init__(self, lanes: int, channels: int, spec: NetworkSpec):
        super().__init__()
        self.norm = spec.layer_norm(lanes, channels)
        self.linear = TokenLinear(lanes, channels, spec.classes, init_width=spec.init_scale, zero_bias=True)

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        logits: Tensor = self.linear(mean_of_tokens(self.norm(x), tokens))
        return logits


def mean_of_tokens(x: Tensor, tokens: int) -> Tensor:
    """`[lanes, n * tokens, channels]` to `[lanes, n, channels]`."""
    return x.unflatten(1, (-1, tokens)).mean(2)
