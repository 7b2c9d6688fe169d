"""Weighted averaging of updates as a stream of sums, row by row of the server's tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from splitmix.algorithms.base import Update
from splitmix.models.network import Tensors

COUNTER = "num_batches_tracked"


def average_rows(server: Tensors, updates: Iterable[Update]) -> Tensors:
    """Average every row over the clients that trained it (McMahan et al., 2017, per row).

    Weights are the updates' weights, renormalised over those clients. A row that no update touches keeps the
    server's values. Batch counters are not averaged: they are copied from the last client, and are 0 where nobody
    trained the row. The order of the updates fixes the floating-point result; their number does not cost memory.
    """
    sums = {name: torch.zeros_like(value) for name, value in server.items() if not name.endswith(COUNTER)}
    counters = {name: torch.zeros_like(value) for name, value in server.items() if name.endswith(COUNTER)}
    rows = len(next(iter(server.values())))
    weights = torch.zeros(rows)
    for update in updates:
        index = torch.tensor(update.work.rows)
        weights[index] += update.weight
        for name, total in sums.items():
            total.index_add_(0, index, update.tensors[name], alpha=update.weight)
        for name, counter in counters.items():
            counter[index] = update.tensors[name]
    trained = weights > 0
    merged = {
        name: torch.where(
            _like(trained, total),
            total / _like(weights.clamp(min=torch.finfo(torch.float32).tiny), total),
            server[name],
        )
        for name, total in sums.items()
    }
    merged.update(counters)
    return {name: merged[name] for name in server}


def _like(per_row: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return per_row.view(-1, *[1] * (value.dim() - 1))
