"""Batch normalisation over lanes, with accurate statistics of channels-last images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tensors = dict[str, Tensor]
"""Parameters and statistics of a network by name, each with a leading lane dimension."""

BN_EPS = 1e-5
BN_MOMENTUM = 0.1


class LaneBatchNorm(nn.Module):
    """Batch normalisation per lane and channel. Weight and bias `[lanes, channels]`.

    Args:
        lanes, channels: number of models, channels of each.
        tracked: keep running statistics and use them in eval mode. Without, the statistics are those of the batch
            at hand in eval mode too (BN mode `batch`).

    Attributes:
        cumulative: while true, running statistics are plain averages over the batches seen since
            `reset_statistics`, instead of exponential ones (re-estimation after training, BN mode `post`).
        segments: number of equal batches that stand one after another in the batch dimension, each with statistics
            of its own (evaluation of several clients in one pass).
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, lanes: int, channels: int, tracked: bool = False):
        super().__init__()
        self.tracked = tracked
        self.cumulative = False
        self.segments = 1
        self.weight = nn.Parameter(torch.ones(lanes, channels))
        self.bias = nn.Parameter(torch.zeros(lanes, channels))
        if tracked:
            self.register_buffer("running_mean", torch.zeros(lanes, channels))
            self.register_buffer("running_var", torch.ones(lanes, channels))
            self.register_buffer("num_batches_tracked", torch.zeros(lanes, dtype=torch.int64))

    def reset_statistics(self) -> None:
        """Forget the running statistics."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch, `[lanes * channels]`; `var` is biased, of `count`."""
        self.running_mean.lerp_(mean.view_as(self.running_mean), BN_MOMENTUM)
        self.running_var.lerp_((var * (count / (count - 1))).view_as(self.running_var), BN_MOMENTUM)
        self.num_batches_tracked += 1

    def line(self) -> tuple[Tensor, Tensor] | None:
        """Slope and offset `[lanes * channels]` of a norm with given statistics whose parameters are not trained."""
        if not self.tracked or self.training or (torch.is_grad_enabled() and self.weight.requires_grad):
            return None
        entries = self.weight, self.bias, self.running_mean, self.running_var
        return slope_and_offset(*(entry.flatten() for entry in entries))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.flatten(), self.bias.flatten()
        if not self.tracked and self.segments > 1:
            return segment_norm(x, self.segments, weight, bias)
        if not self.tracked:
            return normalise(x, weight, bias)
        momentum = BN_MOMENTUM
        if self.training:
            self.num_batches_tracked += 1
            if self.cumulative:
                momentum = 1 / int(self.num_batches_tracked[0])
        mean, var = self.running_mean.flatten(), self.running_var.flatten()
        if not self.training:
            return fixed_norm(x, weight, bias, mean, var)
        return normalise(x, weight, bias, mean, var, momentum)


def fixed_norm(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Batch normalisation with given statistics."""
    if not x.requires_grad or weight.requires_grad:
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, BN_EPS)
    # Only the gradient by x is wanted (an attack): a product, in half the time of batch_norm's backward pass.
    slope, offset = slope_and_offset(weight, bias, mean, var)
    per_feature = (1, -1, *[1] * (x.dim() - 2))
    return torch.addcmul(offset.view(per_feature), x, slope.view(per_feature))


def slope_and_offset(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """What batch normalisation with given statistics multiplies by, and adds."""
    slope = weight * torch.rsqrt(var + BN_EPS)
    return slope, bias - mean * slope


def segment_norm(x: Tensor, segments: int, weight: Tensor, bias: Tensor) -> Tensor:
    """Batch normalisation of `[segments * n, features, ...]` with the statistics of each segment of `n`."""
    split = x.unflatten(0, (segments, -1))
    variance, mean = torch.var_mean(split, [1, *range(3, split.dim())], correction=0, keepdim=True)
    per_feature = (1, 1, -1, *[1] * (x.dim() - 2))
    scale = weight.view(per_feature) * torch.rsqrt(variance + BN_EPS)
    return torch.addcmul(bias.view(per_feature) - mean * scale, split, scale).flatten(0, 1)


def normalise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    momentum: float = 0.0,
) -> Tensor:
    """`F.batch_norm` in training mode, with better sums where PyTorch's are poor."""
    if x.dim() != 4 or x.device.type != "cpu" or x.dtype != torch.float32 or x.is_contiguous() or len(x) == 0:
        return F.batch_norm(x, running_mean, running_var, weight, bias, True, momentum, BN_EPS)
    if not x.is_contiguous(memory_format=torch.channels_last):
        return F.batch_norm(x, running_mean, running_var, weight, bias, True, momentum, BN_EPS)
    out, mean, var = ChannelsLastNorm.apply(x, weight, bias)
    if running_mean is not None and running_var is not None:
        n = x.numel() // x.shape[1]
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (n / (n - 1)), momentum)
    return out


class ChannelsLastNorm(torch.autograd.Function):
    """Batch normalisation of channels-last images `[n, c, h, w]` on a CPU; also returns mean and (biased) variance.

    PyTorch adds up all pixels of a channel one after another there, which loses two of seven digits: enough for
    activations near zero to fall on the other side. Here every image column is summed by itself, at the same speed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, channels, height, width = x.shape
        columns = x.permute(0, 2, 3, 1).view(n, height, width * channels).permute(0, 2, 1).unsqueeze(-1)
        means, variances = torch.batch_norm_update_stats(columns, None, None, 0.0)
        means, variances = means.view(width, channels), variances.view(width, channels)
        mean = means.mean(0)
        var = (variances + (means - mean).square_()).mean(0)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + BN_EPS))
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, BN_EPS), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, mean, scale = ctx.saved_tensors
        return torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, None, None, mean, scale, True, BN_EPS, ctx.needs_input_grad
        )
