"""On a GPU: lanes start from the server's base models there, and are added up there, so that no lane has to travel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from splitmix.algorithms.aggregation import Mean
from splitmix.algorithms.averaging import COUNTER, TENSOR, WEIGHT
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import Aggregate, ServerState
from splitmix.engine.packing import Pack
from splitmix.engine.precision import Place
from splitmix.engine.trainable_lanes import TrainableLanes
from splitmix.models.network import Tensors
from splitmix.on_device import on_device

RULES = ("download", "start", "finish", "no_updates", "accumulate", "combine")
"""What a method may do otherwise between the server's tensors and a lane's, and back."""


def lanes_are_rows(method: Method, state: ServerState) -> bool:
    """Whether each lane starts as a row of the server's tensors, and all that is needed of lanes is a weighted sum."""
    rows = all(getattr(type(method), rule) is getattr(Method, rule) for rule in RULES)
    as_trained = not state.clients and not method.problem.malicious.changes_upload
    return rows and as_trained and isinstance(method.problem.aggregation, Mean)


class ServerRows:
    """The server's base models on a device, and the weighted sums of the lanes that were trained from them.

    A sum is a product with a matrix of the lanes' weights, in float64: on a GPU additions by index come in any order,
    and products do not, so that the same run gives the same bits.

    Args:
        state: the server's, before the round.
        place: where lanes are trained.
        weights: of the lanes, by client.
    """

    def __init__(self, state: ServerState, place: Place, weights: Mapping[int, float]):
        self.device, dtype = place.device, place.dtype
        self.client_weights = weights
        self.kept = {name: value.dtype for name, value in state.tensors.items()}
        self.server = {
            name: on_device(value, self.device, dtype if value.is_floating_point() else None)
            for name, value in state.tensors.items()
        }
        self.sums = {
            name: torch.zeros_like(value, dtype=torch.float64)
            for name, value in self.server.items()
            if not name.endswith(COUNTER)
        }
        self.latest = {name: torch.zeros_like(value) for name, value in self.server.items() if name.endswith(COUNTER)}
        base_models = len(next(iter(state.tensors.values())))
        self.weights = torch.zeros(base_models, dtype=torch.float64)
        self.latest_client = [-1] * base_models

    @torch.no_grad()
    def load(self, trainable: TrainableLanes, pack: Pack) -> None:
        """Set the lanes of a pack to their base models."""
        rows = on_device(torch.tensor([lane.base_model for lane in pack.lanes]), self.device)
        for name, value in trainable.tensors.items():
            value.copy_(self.server[name].index_select(0, rows))

    @torch.no_grad()
    def add(self, pack: Pack, trained: Tensors) -> None:
        """Add the trained lanes of a pack, `[lanes, ...]`, all or (where memory runs out) none of them."""
        rows = torch.tensor([lane.base_model for lane in pack.lanes])
        of_lanes = torch.tensor([self.client_weights[lane.client] for lane in pack.lanes], dtype=torch.float64)
        matrix = torch.zeros(len(self.weights), len(rows), dtype=torch.float64)
        matrix[rows, torch.arange(len(rows))] = of_lanes
        there = on_device(matrix, self.device)
        added = {name: product(there, trained[name]) for name in self.sums}
        for name, value in added.items():
            self.sums[name] += value
        self.weights += matrix.sum(1)
        self.copy_latest(pack, trained)

    def copy_latest(self, pack: Pack, trained: Tensors) -> None:
        """Batch counters: each base model takes over those of the client with the highest number."""
        newest: dict[int, int] = {}
        for number, lane in enumerate(pack.lanes):
            if lane.client >= self.latest_client[lane.base_model]:
                self.latest_client[lane.base_model], newest[lane.base_model] = lane.client, number
        if newest:
            rows, lanes = (on_device(torch.tensor(list(part)), self.device) for part in (newest, newest.values()))
            for name, value in self.latest.items():
                value.index_copy_(0, rows, trained[name].index_select(0, lanes))

    def aggregate(self) -> Aggregate:
        """What was added, on the CPU, in the types that servers keep."""
        sums = {TENSOR + name: value.to("cpu", self.kept[name]) for name, value in self.sums.items()}
        latest = {name: value.to("cpu", self.kept[name]) for name, value in self.latest.items()}
        return Aggregate(sums | {WEIGHT: self.weights.float()}, latest, torch.tensor(self.latest_client))


def product(matrix: Tensor, lanes: Tensor) -> Tensor:
    """Of a matrix `[rows, lanes]` and what lanes have, `[lanes, ...]`: float64 `[rows, ...]`."""
    return (matrix @ lanes.flatten(1).double()).unflatten(1, lanes.shape[1:])
