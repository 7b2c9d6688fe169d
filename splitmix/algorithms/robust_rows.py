"""Merges every base model by a robust rule, by itself, over the clients that trained it in the round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from splitmix.algorithms.aggregation import Aggregation, Mean
from splitmix.algorithms.averaging import COUNTER, Average
from splitmix.algorithms.values import ServerState, Update
from splitmix.errors import UserError
from splitmix.models.channels import classifier_entries
from splitmix.models.network import NetworkSpec


def kept_update(update: Update) -> Update:
    """A copy of what a rule needs of an update, whose own tensors are overwritten later."""
    tensors = {name: value.clone() for name, value in update.tensors.items() if not name.endswith(COUNTER)}
    return replace(update, tensors=tensors, extras={}, measurements={})


def rule_rows(
    state: ServerState, updates: Sequence[Update], average: Average, rule: Aggregation, spec: NetworkSpec
) -> Average:
    """The average with every base model that clients trained as the rule merges it; for `mean` the average itself.

    Args:
        state: the server before the round.
        updates: of the clients, whole.
        average: the mean of the updates, which says the shapes.
        rule: of aggregation.
        spec: of a base model's network.

    Raises:
        UserError: fewer clients trained a base model than the rule needs.
    """
    if isinstance(rule, Mean):
        return average
    merged = {name: value.clone() for name, value in average.tensors.items()}
    names = [name for name in merged if not name.endswith(COUNTER)]
    sizes = [merged[name][0].numel() for name in names]
    last = classifier_entries(spec)
    classifier = torch.cat([torch.full((size,), name in last) for name, size in zip(names, sizes, strict=True)])
    lanes: dict[int, list[tuple[int, int, Update]]] = {}
    for update in updates:
        for lane, base_model in enumerate(update.task.base_models):
            lanes.setdefault(base_model, []).append((update.task.client, lane, update))
    for base_model, some in sorted(lanes.items()):
        some.sort(key=lambda one: one[0])
        if len(some) < rule.fewest():
            raise UserError(
                f"aggregation={rule.name}: {len(some)} clients trained base model {base_model} in round {state.round},"
                f" and the rule needs {rule.fewest()}; use more clients, larger budgets, or another rule"
            )
        rows = torch.stack([torch.cat([u.tensors[name][lane].flatten() for name in names]) for _, lane, u in some])
        server = torch.cat([state.tensors[name][base_model].flatten() for name in names])
        weights = torch.tensor([update.weight for _, _, update in some], dtype=rows.dtype)
        row = rule.merge(rows, weights, server, classifier)
        for name, part in zip(names, row.split(sizes), strict=True):
            merged[name][base_model] = part.view(merged[name][0].shape)
    return Average(merged, average.trained)
