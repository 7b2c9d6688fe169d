"""What a customised model costs: multiply-accumulates and parameters, counted by thop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import thop
import torch
from torch import Tensor, nn

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.evaluation.customize import customize
from splitmix.models.layers import LaneConv2d, LaneLinear
from splitmix.models.network import NetworkSpec
from splitmix.models.norms import LaneBatchNorm


def _add(module: nn.Module, operations: int) -> None:
    # thop keeps its counts in buffers that it adds to the layers for the time of the count.
    module.get_buffer("total_ops").add_(operations)


def _count_conv(module: LaneConv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    # Each output value of a lane sees one lane's inputs: weight entries of one output, biases left out.
    _add(module, output[0].numel() * module.weight[0, 0].numel())


def _count_linear(module: LaneLinear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    _add(module, module.weight.numel())


def _count_batch_norm(module: LaneBatchNorm, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    # thop's rule: 2 per element, doubled for the affine part.
    _add(module, 4 * output[0].numel())


def _count_pool(module: nn.AdaptiveAvgPool2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    # thop's rule: the additions of a window, of mean size, and one division, per output.
    _add(module, inputs[0][0].numel() + output[0].numel())


COUNTERS: dict[type[nn.Module], Any] = {
    LaneConv2d: _count_conv,
    LaneLinear: _count_linear,
    LaneBatchNorm: _count_batch_norm,
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
    """MACs per image and number of parameters of a module made of lane layers."""
    # Two images, since batch statistics of one do not exist; every rule above counts a single one.
    macs, parameters = thop.profile(model, inputs=(torch.zeros(2, *input_shape),), custom_ops=COUNTERS, verbose=False)
    return float(macs), int(parameters)
