"""Exits of a network: how many a family offers, and what the logits of several are together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splitmix.models.network import Model


def exits_of(model: Model) -> int:
    """After how many stages an exit may stand; 0 for a network family without early exits."""
    return int(getattr(model, "stages", 0))


def of_exits(logits: Sequence[Tensor], ensemble: bool) -> Tensor:
    """The logits of a network: the mean over its exits, or those of the last.

    Args:
        logits: of every exit, `[lanes, n, classes]` each.
    """
    return torch.stack(tuple(logits)).mean(0) if ensemble and len(logits) > 1 else logits[-1]
