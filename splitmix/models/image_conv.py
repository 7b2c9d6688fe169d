"""Convolutions of images, which have few channels: their gradients, faster than PyTorch finds them on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]

MANY_OUTPUTS = 32
"""From so many outputs a group on, summing over a kernel's columns costs little beside the convolution. Up to so many,
a fourth channel saves more than it costs."""


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, groups: int) -> Tensor:
    """`F.conv2d`, whose gradient takes the faster way where it goes to the images alone, or to the weights alone."""
    arguments = x, weight, bias, stride, padding, groups
    if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
        if x.requires_grad and not weight.requires_grad and weight.shape[1] % 4:
            return apply(AttackedConv, *arguments)
        if weight.requires_grad and not x.requires_grad and trains_faster_with_four(x, weight, groups):
            return apply(TrainedConv, *arguments)
    return F.conv2d(x, weight, bias, stride, padding, 1, groups)


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    out: Tensor = function.apply(*arguments)
    return out


def trains_faster_with_four(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether oneDNN is faster with a fourth channel: without AVX-512 it has no kernel for groups of three."""
    few = weight.shape[1] == 3 and groups > 1 and len(weight) <= MANY_OUTPUTS * groups
    return few and x.dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() == "AVX2"


class TrainedConv(torch.autograd.Function):
    """A grouped convolution of images, whose gradient goes to weights and bias and not to the images."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, groups: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.arguments = stride, padding, groups, None if bias is None else [len(weight)]
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        stride, padding, groups, bias = ctx.arguments
        n_in = weight.shape[1]
        added = -n_in % 4
        wider = F.pad(x.permute(0, 2, 3, 1).unflatten(3, (groups, n_in)), (0, added)).flatten(3).permute(0, 3, 1, 2)
        _, by_weight, by_bias = torch.ops.aten.convolution_backward(
            gradients[0], wider, F.pad(weight, (0, 0, 0, 0, 0, added)), bias, stride, padding, [1, 1], False, [0, 0],
            groups, [False, True, bias is not None],
        )  # fmt: skip
        return None, by_weight[:, :n_in], by_bias, None, None, None


class AttackedConv(torch.autograd.Function):
    """A grouped convolution of images with few channels, whose gradient goes to the images and not to the weights.

    oneDNN takes as long for a gradient of few channels as for one that fills a vector, and longer still where their
    number is no multiple of four.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, groups: int
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.arguments = x.shape, (stride, padding, groups)
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        [weight] = ctx.saved_tensors
        stride, padding, groups = ctx.arguments
        outputs = len(weight) // groups
        fits = all(side - 1 >= added for side, added in zip(weight.shape[2:], padding, strict=True))
        if stride == (1, 1) and outputs >= MANY_OUTPUTS and fits:
            by_input = by_columns(gradients[0], weight, padding, groups)
        else:
            by_input = with_more_channels(gradients[0], weight, ctx.shape, ctx.arguments)
        return by_input, None, None, None, None, None


def by_columns(gradient: Tensor, weight: Tensor, padding: Pair, groups: int) -> Tensor:
    """The gradient of images, given that of the outputs of a convolution of stride 1: `[n, channels, h, w]`.

    Every column of the kernel becomes outputs of its own of a convolution by rows, which fill a vector. Their sum, each
    moved by its column, is the gradient.

    Args:
        gradient: `[n, outputs, h', w']`.
        weight: `[outputs, channels / groups, rows, columns]`; the padding is less than both.
    """
    n_in, rows, columns = weight.shape[1:]
    flipped = weight.unflatten(0, (groups, -1)).permute(0, 4, 2, 1, 3).flip(4)  # [groups, columns, in, out, rows]
    kernel = flipped.reshape(-1, len(weight) // groups, rows, 1)
    parts = F.conv2d(gradient, kernel, None, 1, (rows - 1 - padding[0], 0), 1, groups)
    parts = parts.permute(0, 2, 3, 1).unflatten(3, (groups, columns, n_in))
    n, height, width = parts.shape[:3]
    padded = parts.new_zeros(n, height, width + columns - 1, groups, n_in)
    for column in range(columns):
        padded[:, :, column : column + width] += parts[..., column, :]
    return padded[:, :, padding[1] : width + columns - 1 - padding[1]].flatten(3).permute(0, 3, 1, 2)


def with_more_channels(
    gradient: Tensor, weight: Tensor, shape: torch.Size, arguments: tuple[Pair, Pair, int]
) -> Tensor:
    """The gradient of images, computed with channels of zeros added up to a multiple of four: `[n, channels, h, w]`.

    Args:
        gradient: `[n, outputs, h', w']`.
        weight: `[outputs, channels / groups, rows, columns]`.
        shape: of the images.
        arguments: stride, padding and number of groups.
    """
    stride, padding, groups = arguments
    n, _, height, width = shape
    n_in = weight.shape[1]
    added = -n_in % 4
    wider = weight.new_empty(n, groups * (n_in + added), height, width).contiguous(memory_format=torch.channels_last)
    by_input = torch.ops.aten.convolution_backward(
        gradient, wider, F.pad(weight, (0, 0, 0, 0, 0, added)), None, stride, padding, [1, 1], False, [0, 0], groups,
        [True, False, False],
    )[0]  # fmt: skip
    kept = by_input.permute(0, 2, 3, 1).unflatten(3, (groups, -1))[..., :n_in]
    return kept.flatten(3).permute(0, 3, 1, 2)
