"""What may stand in a forward pass whose lanes are folded in dimension 1: operations that keep lanes apart."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from splitmix.models.packed_layers import lane_log_softmax, lane_softmax

ELEMENTWISE: frozenset[Any] = frozenset(
    [
        nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
        nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Threshold,
        F.relu, F.relu_, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish,
        F.hardsigmoid, F.hardtanh, F.sigmoid, F.tanh, F.softplus, F.softsign, F.logsigmoid, F.threshold,
        torch.relu, torch.relu_, torch.sigmoid, torch.tanh, torch.abs, torch.exp, torch.sqrt, torch.square,
        torch.clamp, torch.neg, operator.neg,
        "relu", "relu_", "sigmoid", "tanh", "abs", "exp", "sqrt", "square", "clamp", "neg", "contiguous", "clone",
    ]
)  # fmt: skip
"""Value by value, of one tensor: layers, functions, names of methods."""

BINARY: frozenset[Any] = frozenset(
    [
        operator.add, operator.sub, operator.mul, operator.truediv, operator.pow,
        operator.iadd, operator.isub, operator.imul, operator.itruediv,
        torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum,
        "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_",
    ]
)  # fmt: skip
"""Value by value, of two tensors that agree in batch and features, or a tensor and a number."""

SPATIAL: frozenset[Any] = frozenset(
    [
        nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d, nn.ReflectionPad2d,
        nn.ReplicationPad2d, nn.Upsample,
        F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate,
        torch.max_pool2d, torch.adaptive_avg_pool1d,
    ]
)  # fmt: skip
"""Of images, channel by channel."""

REDUCTIONS: frozenset[Any] = frozenset(
    [torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin"]
)  # fmt: skip
"""Over dimensions behind the features."""

RESHAPES: frozenset[Any] = frozenset(
    [
        nn.Flatten, nn.Unflatten, torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze,
        "view", "reshape", "flatten", "squeeze", "unsqueeze",
    ]
)  # fmt: skip
"""Other shapes of the same values."""

SCORES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((nn.Softmax, F.softmax, torch.softmax, "softmax"), lane_softmax),
    **dict.fromkeys((nn.LogSoftmax, F.log_softmax, torch.log_softmax, "log_softmax"), lane_log_softmax),
}
"""Over the features of every lane."""

CONCATENATIONS: frozenset[Any] = frozenset([torch.cat, torch.concat, torch.concatenate])
DROPOUTS: dict[Any, bool] = {nn.Dropout: False, nn.Dropout2d: True, F.dropout: False, F.dropout2d: True}
"""Whether whole channels are dropped."""

SIZES: frozenset[Any] = frozenset(["size", "dim", getattr, operator.getitem, operator.mul, operator.floordiv, len])
"""What gives numbers, for reshapes."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


class Obstacle(Exception):
    """An operation of which it is not known that lanes stay apart."""


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """An argument of a call, by position or name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def padding_of(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Padding in numbers, the same on both sides; None if there is none such."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return None if any(size % 2 for size in total) else (total[0] // 2, total[1] // 2)
    return layer.padding  # type: ignore[return-value]
