"""A private round's sums: every client's change clipped as a whole, noise on the sum, fixed denominators."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from splitmix.algorithms.averaging import TENSOR, WEIGHT
from splitmix.algorithms.values import Aggregate, ServerState, Update, leading
from splitmix.models.network import Tensors


def clipped_change(update: Update, state: ServerState, clip_norm: float | None) -> Update:
    """The client's change of the server's base models, all lanes together scaled down to a largest norm, at weight 1.

    Args:
        update: of the whole client: its norm is that of all its lanes joined.
        state: what it was trained from.
        clip_norm: C; None scales nothing.
    """
    base_models = list(update.task.base_models)
    changes = {name: value - state.tensors[name][base_models] for name, value in update.tensors.items()}
    length = norm_of(changes)
    factor = 1.0 if clip_norm is None or length <= clip_norm else clip_norm / length
    return replace(update, weight=1.0, tensors={name: factor * value for name, value in changes.items()}, extras={})


def norm_of(tensors: Tensors) -> float:
    """The Euclidean norm of all entries together."""
    return float(torch.stack([value.double().square().sum() for value in tensors.values()]).sum().sqrt())


def released(
    aggregate: Aggregate, state: ServerState, denominators: Tensor, deviation: float, generator: torch.Generator
) -> Aggregate:
    """The aggregate whose average is the server plus (sum of the changes + noise) / denominator.

    Args:
        aggregate: sums of clipped changes, at weight 1 each.
        denominators: `[base models]`, known without the clients' data; a base model at 0 was planned for no client, so
            that its sum is 0 whoever took part, and it stays.
        deviation: standard deviation of the noise on every entry of the sums.
    """
    sums = {WEIGHT: denominators}
    for name, change in aggregate.sums.items():
        if name.startswith(TENSOR):
            server = state.tensors[name.removeprefix(TENSOR)]
            noise = deviation * torch.randn(change.shape, generator=generator, dtype=change.dtype)
            sums[name] = leading(denominators, server) * server + change + noise
    return replace(aggregate, sums=sums)
