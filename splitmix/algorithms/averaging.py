"""Weighted averaging of updates as a stream of sums: row by row of the server's tensors, or slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from splitmix.algorithms.base import ServerState, Update
from splitmix.models.network import Tensors

COUNTER = "num_batches_tracked"
TINY = torch.finfo(torch.float32).tiny


def average_rows(state: ServerState, updates: Iterable[Update]) -> ServerState:
    """Average every row (base model) over the clients that trained it (McMahan et al., 2017, per row).

    Weights are the updates' weights, renormalised over those clients. A row that no update touches keeps the
    server's values. Batch counters are not averaged: they are copied from the last client, and are 0 where nobody
    trained the row. Local entries stay with their client. The order of the updates fixes the floating-point result;
    their number does not cost memory.
    """
    server = state.tensors
    shared = {name: value for name, value in server.items() if name not in state.local}
    sums = {name: torch.zeros_like(value) for name, value in shared.items() if not name.endswith(COUNTER)}
    counters = {name: torch.zeros_like(value) for name, value in shared.items() if name.endswith(COUNTER)}
    local = {name: value.clone() for name, value in state.local.items()}
    weights = torch.zeros(len(next(iter(server.values()))))
    last: dict[int, int] = {}
    for update in updates:
        index = torch.tensor(update.work.rows)
        weights[index] += update.weight
        for name, total in sums.items():
            total.index_add_(0, index, update.tensors[name], alpha=update.weight)
        for lane, row in enumerate(update.work.rows):
            if update.work.client >= last.get(row, -1):
                last[row] = update.work.client
                for name, counter in counters.items():
                    counter[row] = update.tensors[name][lane]
        for name, value in local.items():
            value[update.work.client, index] = update.tensors[name]
    merged = {name: _divided(total, _like(weights, total), server[name]) for name, total in sums.items()}
    return state.after({name: {**server, **merged, **counters}[name] for name in server}, local)


def average_slices(server: Tensors, updates: Iterable[tuple[float, Tensors]]) -> Tensors:
    """Average every entry over the updates that contain it; entries of no update keep the server's values.

    Args:
        server: one network, leading dimension 1.
        updates: weight and tensors; each tensor is a slice of the server's that begins at index 0 in every dimension.
    """
    sums = {name: torch.zeros_like(value) for name, value in server.items()}
    weights = {name: torch.zeros_like(value) for name, value in server.items()}
    for weight, tensors in updates:
        for name, value in tensors.items():
            region = corner(value)
            sums[name][region].add_(value, alpha=weight)
            weights[name][region] += weight
    return {name: _divided(total, weights[name], server[name]) for name, total in sums.items()}


def corner(like: Tensor) -> tuple[slice, ...]:
    """The index of the first entries in every dimension, as many as `like` has."""
    return tuple(slice(size) for size in like.shape)


def corners(tensors: Tensors, template: Mapping[str, Tensor]) -> Tensors:
    """Views of the first entries of every tensor, as many as the template has (the leading dimension stays)."""
    return {name: value[(slice(None), *corner(template[name])[1:])] for name, value in tensors.items()}


def _divided(total: Tensor, weight: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(weight > 0, total / weight.clamp(min=TINY), otherwise)


def _like(per_row: Tensor, value: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (value.dim() - 1))
