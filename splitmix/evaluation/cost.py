"""What a customised model costs: multiply-accumulates and parameters, counted by PyTorch and thop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import thop
import torch
from thop.profile import register_hooks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.evaluation.customize import customize
from splitmix.models.network import NetworkSpec
from splitmix.models.norms import LaneBatchNorm
from splitmix.models.packed_layers import LaneGroupNorm, LaneLayerNorm
from splitmix.models.tokens import TokenNorm
from splitmix.models.unpacked import unstack

IMAGES = 2
"""Images that a network is counted with, since batch statistics of one do not exist; the counts are for one."""


def _add(module: nn.Module, operations: int) -> None:
    # thop keeps its counts in buffers that it adds to the layers for the time of the count.
    module.get_buffer("total_ops").add_(operations)


def _count_norm(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    # thop's rule: 2 per element, doubled for the affine part. A row of the output may be a token, not an image.
    _add(module, 4 * output.numel() // IMAGES)


def _count_pool(module: nn.AdaptiveAvgPool2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    # thop's rule: the additions of a window, of mean size, and one division, per output.
    _add(module, inputs[0][0].numel() + output[0].numel())


def _count_nothing(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None: ...


NORMS = (LaneBatchNorm, TokenNorm, LaneGroupNorm, LaneLayerNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
COUNTERS: dict[type[nn.Module], Any] = {
    # Convolutions and matrix products are counted as such, wherever they come from.
    **dict.fromkeys(register_hooks, _count_nothing),
    **dict.fromkeys(NORMS, _count_norm),
    nn.AdaptiveAvgPool2d: _count_pool,
}


def cost(method: Method, state: ServerState, width: float) -> tuple[float, int]:
    """MACs per image and number of parameters of the customised model of a width.

    Counted as in the paper's Table 1: convolutions and linear layers without biases, 4 operations per element of
    batch normalisation, adaptive average pooling counted, activations and max-pooling free. (The paper prints the
    MACs ten times too small.)
    """
    model = customize(method, state, width, client=0 if state.local else None)
    return count(model, method.problem.input_shape)


def costs(method: Method, widths: Sequence[float]) -> dict[float, tuple[float, int]]:
    """`cost` by width; needs no trained weights."""
    state = method.initial_state(0)
    return {width: cost(method, state, width) for width in widths}


def lane_cost(spec: NetworkSpec) -> tuple[float, int]:
    """MACs per image and number of parameters of one lane, counted likewise."""
    return count(spec.build(1).eval(), spec.input_shape)


def count(model: nn.Module, input_shape: tuple[int, int, int]) -> tuple[float, int]:
    """MACs per image and number of parameters of a network."""
    images = torch.zeros(IMAGES, *input_shape)
    unstack(model)
    with FlopCounterMode(display=False) as products:
        macs, _ = thop.profile(model, inputs=(images,), custom_ops=COUNTERS, verbose=False)
    # Two operations make one MAC.
    macs += products.get_total_flops() / (2 * len(images))
    return float(macs), sum(value.numel() for value in model.parameters())
