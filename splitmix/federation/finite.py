"""Weights that are numbers: what a round must give, and a checkpoint must hold."""

from __future__ import annotations

import torch

from splitmix.algorithms.base import ServerState
from splitmix.errors import UserError


def not_finite(state: ServerState) -> str | None:
    """The first entry of a server state with a value that is infinite or not a number; None if there is none."""
    for scope, tensors in (("", state.tensors), ("local ", state.local)):
        for name, value in tensors.items():
            # A sum is not finite where a value is not; the sum of large ones may overflow, so that each is looked at.
            if value.is_floating_point() and not value.sum().isfinite() and not torch.isfinite(value).all():
                return f"{scope}{name}"
    return None


def refuse_not_finite(state: ServerState, lr: float) -> None:
    """Check the state that a round's merge ended with.

    Raises:
        UserError: a value is infinite or not a number; the round (0-based, as in metrics.csv) and the entry are named.
    """
    if name := not_finite(state):
        raise UserError(
            f"{name} is no longer finite after the merge of round {state.round - 1}: lower optimizer.lr={lr:g}; the"
            " last good checkpoint stays"
        )
