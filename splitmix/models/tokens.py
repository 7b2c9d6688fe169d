"""Layers over lanes of tokens: a linear layer, layer normalisation, positions.

Lanes stay apart, `[lanes, rows, features]`: folded into the features, as elsewhere, they would have to be copied apart
and together again around every matrix product. A row is a token; those of an image lie side by side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.models.layers import LaneLinear

LN_EPS = 1e-5
POSITION_STD = 0.3
"""Standard deviation of initial positions: about as large as embedded patches. At the 0.02 of Dosovitskiy et al. places
are hardly told apart in runs as short as those of a federation."""


class TokenLinear(LaneLinear):
    """Linear layer per lane. Input `[lanes, rows, in]`, output `[lanes, rows, out]`."""

    def forward(self, x: Tensor) -> Tensor:
        scale = 1 / self.rescale if self.training else 1.0
        if self.bias is None:
            return torch.bmm(x, (self.weight if scale == 1.0 else self.weight * scale).mT)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT, beta=scale, alpha=scale)


class TokenNorm(nn.Module):
    """Layer normalisation of every token `[lanes, rows, channels]`. Weight and bias `[lanes, channels]`."""

    def __init__(self, lanes: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(lanes, channels))
        self.bias = nn.Parameter(torch.zeros(lanes, channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias.unsqueeze(1), standardised(x), self.weight.unsqueeze(1))


def standardised(x: Tensor) -> Tensor:
    """Tokens of mean 0 and variance 1."""
    return F.layer_norm(x, x.shape[-1:], eps=LN_EPS)


class Positions(nn.Module):
    """Adds a learned vector per place. Weight `[lanes, tokens, channels]`; input `[lanes, n, tokens, channels]`.

    Args:
        rescale: as of `splitmix.models.layers.LaneLayer`.
    """

    def __init__(self, lanes: int, tokens: int, channels: int, rescale: float):
        super().__init__()
        self.rescale = rescale
        self.weight = nn.Parameter(torch.zeros(lanes, tokens, channels))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Normal values."""
        self.weight.normal_(0, POSITION_STD, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.weight / (self.rescale if self.training else 1.0)).unsqueeze(1)
