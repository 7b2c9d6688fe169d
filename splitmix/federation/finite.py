"""Losses and weights that are finite numbers: what a round must give, and a checkpoint must hold."""

from __future__ import annotations

import math

import torch

from splitmix.algorithms.values import ServerState
from splitmix.engine.finishing import Trained
from splitmix.engine.optimizers import SGD, Adam, likely_cause
from splitmix.errors import UserError


def not_finite(state: ServerState) -> str | None:
    """The first entry of a server state with a value that is infinite or not a number; None if there is none."""
    for scope, tensors in (("", state.tensors), ("server ", state.server), ("client ", state.clients)):
        for name, value in tensors.items():
            # A sum is not finite where a value is not; the sum of large ones may overflow, so that each is looked at.
            if value.is_floating_point() and not value.sum().isfinite() and not torch.isfinite(value).all():
                return f"{scope}{name}"
    return None


def refuse_diverged(trained: Trained, client: str, optimizer: SGD | Adam) -> None:
    """Check the losses of a client's lanes in a round.

    Args:
        client: its id.

    Raises:
        UserError: a loss is not a finite number; round (from 1), client and base model are named.
    """
    task, losses = trained.update.task, trained.update.measurements["loss"]
    for base_model, loss in zip(task.base_models, losses.tolist(), strict=True):
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} in round {task.round + 1}, client {client}, base model {base_model}:"
                f" lower {likely_cause(optimizer)}; the last good checkpoint stays"
            )


def refuse_not_finite(state: ServerState, optimizer: SGD | Adam) -> None:
    """Check the state that a round's merge ended with.

    Raises:
        UserError: a value is infinite or not a number; the round (from 1) and the entry are named.
    """
    if name := not_finite(state):
        raise UserError(
            f"{name} is no longer finite after the merge of round {state.round}: lower {likely_cause(optimizer)}; the"
            " last good checkpoint stays"
        )
