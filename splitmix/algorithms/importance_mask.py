"""FIARSE's mask: small weights become 0, and the gradient sees that size decides (arXiv 2407.19389, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK = 1 << 15
"""Weights that are masked at once on a CPU."""


def importance_masked(weight: Tensor, threshold: Tensor) -> Tensor:
    """The weights of at least the lane's threshold in size, 0 in place of the others (FIARSE, section 4).

    The gradient also sees that a larger weight is kept: that of the mask is 2θ / (|w| + θ)², θ the threshold.

    Args:
        weight: `[lanes, ...]`.
        threshold: `[lanes]`, at least 0.
    """
    masked: Tensor = ImportanceMask.apply(weight, threshold)
    return masked


class ImportanceMask(torch.autograd.Function):
    """See `importance_masked`: one pass over all weights in every step forward, and one back."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(weight, threshold)
        masked = torch.empty_like(weight)
        for theta, block, result in blocks(threshold, weight, masked):
            torch.mul(block, block.abs().ge_(theta), out=result)  # 1.0 or 0.0: faster than a product with booleans
        return masked

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        weight, threshold = ctx.saved_tensors
        changed, [gradient] = torch.empty_like(weight), gradients
        for theta, block, before, result in blocks(threshold, weight, gradient, changed):
            size = block.abs()
            kept = size.clone().ge_(theta)
            square = (size + theta).square_().clamp_(min=torch.finfo(size.dtype).tiny)
            slope = size.mul_(2 * theta).mul_(kept).div_(square).add_(kept)
            torch.mul(slope, before, out=result)
        return changed, None


def blocks(threshold: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """By lane its threshold and its part of each tensor `[lanes, ...]`; on a CPU in blocks that fit the cache."""
    for theta, *lanes in zip(threshold, *tensors, strict=True):
        if theta.device.type == "cpu" and all(lane.is_contiguous() for lane in lanes):
            for parts in zip(*(lane.view(-1).split(BLOCK) for lane in lanes), strict=True):
                yield theta, *parts
        else:
            yield theta, *lanes
