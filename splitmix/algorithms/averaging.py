"""Weighted averaging of updates as a stream of sums: row by row of the server's tensors, or slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.algorithms.values import Aggregate, ServerState, Update, leading
from splitmix.models.network import Tensors

COUNTER = "num_batches_tracked"
TINY = torch.finfo(torch.float32).tiny
WEIGHT = "weight"  # in the sums: the weights by base model, or with a name behind it by entry
TENSOR = "tensor/"  # in the sums: weighted sum of the tensor of that name


@dataclass(frozen=True)
class Average:
    """What the clients of a round trained, on average.

    Attributes:
        tensors: every entry of the server that the clients share; the server's value where no client trained it.
        trained: bool, broadcastable to the tensor of that name: whether some client trained the entry.
    """

    tensors: Tensors
    trained: Tensors


def no_rows(state: ServerState) -> Aggregate:
    """Nothing yet, for `add_rows`. Entries that stay with the clients have no place in it."""
    shared = {name: value for name, value in state.tensors.items() if name not in state.clients}
    base_models = len(next(iter(state.tensors.values())))
    sums = {TENSOR + name: torch.zeros_like(value) for name, value in shared.items() if not name.endswith(COUNTER)}
    latest = {name: torch.zeros_like(value) for name, value in shared.items() if name.endswith(COUNTER)}
    sums[WEIGHT] = torch.zeros(base_models)
    return Aggregate(sums, latest, torch.full((base_models,), -1))


def add_rows(aggregate: Aggregate, update: Update) -> Aggregate:
    """Add the lanes of an update to the sums of their base models, in place.

    The order of the updates fixes the floating-point result.
    """
    index = torch.tensor(update.task.base_models)
    aggregate.sums[WEIGHT][index] += update.weight
    for name, value in update.tensors.items():
        if not name.endswith(COUNTER):
            aggregate.sums[TENSOR + name].index_add_(0, index, value, alpha=update.weight)
    newer = aggregate.latest_client[index] <= update.task.client
    aggregate.latest_client[index[newer]] = update.task.client
    for name, counter in aggregate.latest.items():
        counter[index[newer]] = update.tensors[name][newer]
    return aggregate


def average_rows(state: ServerState, aggregate: Aggregate) -> Average:
    """Average every row (base model) over the clients that trained it (McMahan et al., 2017, per row).

    Weights are the updates' weights, renormalised over those clients. Batch counters are not averaged: they are copied
    from the last client, and are 0 where nobody trained the row.
    """
    weights = aggregate.sums[WEIGHT]
    tensors = {
        name: aggregate.latest[name]
        if name in aggregate.latest
        else _divided(aggregate.sums[TENSOR + name], leading(weights, value), value)
        for name, value in state.tensors.items()
        if name not in state.clients
    }
    return Average(tensors, {name: leading(weights > 0, value) for name, value in tensors.items()})


def no_slices(state: ServerState) -> Aggregate:
    """Nothing yet, for `add_slices`."""
    like = {name: value if value.is_floating_point() else value.float() for name, value in state.tensors.items()}
    sums = {TENSOR + name: torch.zeros_like(value) for name, value in like.items()}
    return Aggregate(sums | {f"{WEIGHT}/{name}": torch.zeros_like(value) for name, value in like.items()})


def add_slices(aggregate: Aggregate, update: Update, shares: Tensors | None = None) -> Aggregate:
    """Add an update of one lane in place, whose tensors are the first entries of the server's in every dimension.

    Args:
        shares: by name, factors of the weight for the entries of that tensor, broadcastable to it; 1 for the others.
    """
    for name, value in update.tensors.items():
        region = corner(value)
        if shares and name in shares:
            weights = update.weight * shares[name]
            aggregate.sums[TENSOR + name][region] += weights * value
            aggregate.sums[f"{WEIGHT}/{name}"][region] += weights
        else:
            aggregate.sums[TENSOR + name][region].add_(value, alpha=update.weight)
            aggregate.sums[f"{WEIGHT}/{name}"][region] += update.weight
    return aggregate


def average_slices(server: Tensors, aggregate: Aggregate) -> Average:
    """Average every entry over the updates that contain it; entries of no update keep the server's values.

    Batch counters are averaged likewise, and rounded.
    """
    weights = {name: aggregate.sums[f"{WEIGHT}/{name}"] for name in server}
    means = {name: _divided(aggregate.sums[TENSOR + name], weights[name], value) for name, value in server.items()}
    tensors = {
        name: value if server[name].is_floating_point() else value.round().to(server[name].dtype)
        for name, value in means.items()
    }
    return Average(tensors, {name: weight > 0 for name, weight in weights.items()})


def corner(like: Tensor) -> tuple[slice, ...]:
    """The index of the first entries in every dimension, as many as `like` has."""
    return tuple(slice(size) for size in like.shape)


def corners(tensors: Tensors, template: Mapping[str, Tensor]) -> Tensors:
    """Views of the first entries of the template's tensors, as many as it has (the leading dimension stays)."""
    places = {name: (slice(None), *corner(value)[1:]) for name, value in template.items()}
    return {name: value[places[name]] for name, value in tensors.items() if name in template}


def _divided(total: Tensor, weight: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(weight > 0, total / weight.clamp(min=TINY), otherwise)
