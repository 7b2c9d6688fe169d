"""Residual blocks: learned step sizes, and which blocks of a network family can be left out."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from splitmix.models.network import Model, NetworkSpec


class StepSize(nn.Module):
    """Multiplies what a residual block adds, `[n, lanes * channels, h, w]`, by a number per lane. Weight `[lanes]`."""

    def __init__(self, lanes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(lanes))

    def forward(self, x: Tensor) -> Tensor:
        lanes = len(self.weight)
        per_channel = self.weight.unsqueeze(1).expand(lanes, x.shape[1] // lanes).reshape(-1, 1, 1)
        return x * per_channel


class TokenStepSize(StepSize):
    """The same for tokens, `[lanes, rows, channels]`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, 1, 1)


def skippable_of(model: Model) -> tuple[str, ...] | None:
    """The paths of the residual blocks that can be left out, first to last; None for a family without such blocks.

    They are those whose shortcut is their input, so that the network stays whole without them.
    """
    paths: tuple[str, ...] | None = getattr(model, "skippable", None)
    return paths


@lru_cache(maxsize=256)
def step_entries(spec: NetworkSpec) -> frozenset[str]:
    """Names of the entries of all step sizes."""
    with torch.device("meta"):
        network = spec.build(1)
    return frozenset(f"{path}.weight" for path, part in network.named_modules() if isinstance(part, StepSize))
