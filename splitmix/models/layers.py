"""Layers over lanes: one module holds the same layer of many independent models.

A lane is one model. Every parameter carries a leading lane dimension. Activations are *folded*: the lanes stand
side by side in the feature dimension, `[n, lanes * features, ...]`, so that a convolution over all lanes is one
grouped convolution, batch normalisation over all lanes is one ordinary batch normalisation, and pooling and
activations need no change. With one lane each layer is the ordinary PyTorch layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.models.image_conv import Pair, convolution


class LaneLayer(nn.Module):
    """What convolution and linear layers share: weights per lane, initialisation, and the training-time rescale.

    Args:
        weight_shape: shape of one lane's weight; its first dimension is the number of outputs.
        lanes: number of independent models.
        bias: whether there is a bias per output.
        rescale: in training mode the output is divided by this number (METHOD: `rescale_layer` sets it to the
            width of the network; 1 switches it off).
        init_width: the initialisation bound is computed with `fan_in / init_width` (`rescale_init` of the paper
            sets it to the width of the network: the fan-in of the full network; 1 is PyTorch's default).
    """

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        lanes: int,
        bias: bool = True,
        rescale: float = 1.0,
        init_width: float = 1.0,
    ):
        super().__init__()
        self.lanes = lanes
        self.rescale = rescale
        self.init_width = init_width
        self.zero_bias = False
        self.weight = nn.Parameter(torch.zeros(lanes, *weight_shape))
        self.bias = nn.Parameter(torch.zeros(lanes, weight_shape[0])) if bias else None

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Kaiming-uniform with a = sqrt(5), i.e. uniform within 1 / sqrt(fan-in), for weight and bias alike."""
        fan_in = math.prod(self.weight.shape[2:]) / self.init_width
        bound = 1 / math.sqrt(fan_in)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            if self.bias is not None and not self.zero_bias:
                self.bias.uniform_(-bound, bound, generator=generator)

    def scaled(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as the forward pass uses them.

        Dividing them divides the layer's output, for the price of the parameters instead of the activations.
        """
        if not self.training or self.rescale == 1.0:
            return self.weight, self.bias
        return self.weight / self.rescale, None if self.bias is None else self.bias / self.rescale


def pair(size: int | Pair) -> Pair:
    """A size of rows and columns."""
    return (size, size) if isinstance(size, int) else size


class LaneConv2d(LaneLayer):
    """2-d convolution per lane. Weight `[lanes, out, in / groups, k, k]`, bias `[lanes, out]`.

    Input `[n, lanes * in, h, w]`, or with `groups` = 1 `[n, in, h, w]` when all lanes look at the same input (then one
    dense convolution computes them all). Output `[n, lanes * out, h', w']`. Sizes are a number, or one for rows and
    one for columns.
    """

    def __init__(
        self,
        lanes: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        rescale: float = 1.0,
        init_width: float = 1.0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ):
        super().__init__((out_channels, in_channels // groups, *pair(kernel_size)), lanes, bias, rescale, init_width)
        self.stride, self.padding, self.dilation = pair(stride), pair(padding), pair(dilation)

    def forward(self, x: Tensor, line: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The outputs, or with `line` = slope and offset, each `[lanes * out]`, `slope * outputs + offset` as fast."""
        weight, bias = self.scaled()
        weight, bias = weight.flatten(0, 1), None if bias is None else bias.flatten()
        if line is not None:
            slope, offset = line
            weight = weight * slope.view(-1, 1, 1, 1)
            bias = offset if bias is None else torch.addcmul(offset, bias, slope)
        stride = self.stride
        if max(stride) > 1 and weight.shape[-2:] == (1, 1) and self.padding == (0, 0):
            # The same numbers; strided 1x1 convolutions of channels-last images crash in oneDNN's backward pass with
            # two threads and an odd number of images (torch 2.14, x86).
            x = x[..., :: stride[0], :: stride[1]].contiguous(memory_format=torch.channels_last)
            stride = (1, 1)
        groups = x.shape[1] // weight.shape[1]
        if self.dilation == (1, 1):
            return convolution(x, weight, bias, stride, self.padding, groups)
        return F.conv2d(x, weight, bias, stride, self.padding, self.dilation, groups)


class LaneLinear(LaneLayer):
    """Linear layer per lane. Weight `[lanes, out, in]`, bias `[lanes, out]`.

    Input `[n, lanes * in]`, output `[n, lanes * out]`. `positions` is the number of inputs per channel of the layer
    before: the pixels of a flattened image, else 1. `unit` is the number of outputs that the width keeps or drops
    together: those of a head of attention, else 1. With `zero_bias` the bias starts at 0.
    """

    def __init__(
        self,
        lanes: int,
        in_features: int,
        out_features: int,
        rescale: float = 1.0,
        init_width: float = 1.0,
        positions: int = 1,
        zero_bias: bool = False,
        bias: bool = True,
        unit: int = 1,
    ):
        super().__init__((out_features, in_features), lanes, bias, rescale, init_width)
        self.positions = positions
        self.unit = unit
        self.zero_bias = zero_bias

    def neighbours(self, dim: int) -> int:
        """Neighbouring indices per channel in a dimension of weight or bias, the lanes' being 0."""
        return self.unit if dim == 1 else self.positions

    def forward(self, x: Tensor) -> Tensor:
        scale = 1 / self.rescale if self.training else 1.0
        x = unfold_lanes(x, self.lanes).transpose(1, 2)
        # Weight on the left: its gradient then comes out in its own layout, which saves a copy.
        if self.bias is None:
            out = torch.bmm(self.weight if scale == 1.0 else self.weight * scale, x)
        else:
            out = torch.baddbmm(self.bias.unsqueeze(2), self.weight, x, beta=scale, alpha=scale)
        return out.permute(2, 0, 1).flatten(1)


def unfold_lanes(x: Tensor, lanes: int) -> Tensor:
    """`[n, lanes * features]` to `[lanes, n, features]`, without a copy."""
    if lanes == 1:  # the same, and an exported graph can leave it out
        return x.unsqueeze(0)
    return x.unflatten(1, (lanes, -1)).transpose(0, 1)


def fold_lanes(x: Tensor) -> Tensor:
    """`[lanes, n, ...]` to `[n, lanes * ...]`: lanes side by side in the feature dimension."""
    return x.transpose(0, 1).flatten(1, 2)
