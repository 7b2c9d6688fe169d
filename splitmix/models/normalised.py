"""A convolution and the batch normalisation behind it, computed as one where nothing of the norm is trained."""

from __future__ import annotations

from torch import Tensor, nn

from splitmix.models.dual_norms import DualBatchNorm
from splitmix.models.layers import LaneConv2d
from splitmix.models.norms import LaneBatchNorm


def normalised(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """`norm(conv(x))`; a batch normalisation that is a slope and an offset goes into the convolution's weights.

    That holds in eval mode with running statistics, for tests and for the attacks of adversarial training.
    """
    if isinstance(conv, LaneConv2d) and isinstance(norm, LaneBatchNorm | DualBatchNorm):
        line = norm.line()
        # Hooks, such as those that count operations, must see both layers.
        if line is not None and not any(part._forward_hooks for part in (conv, *norm.modules())):
            return conv(x, line)
    out: Tensor = norm(conv(x))
    return out
