"""FIARSE: Wu, Wang, Mitra, Yan, "FIARSE: Model-Heterogeneous Federated Learning via Importance-Aware Submodel
Extraction", NeurIPS 2024 (arXiv 2407.19389).

One full network; a client trains its largest weights, as many as its budget allows, wherever they lie; every entry is
averaged over the clients that changed it. The entries of smaller budgets are among those of larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from splitmix.algorithms.averaging import Average
from splitmix.algorithms.base import ClientResult, LaneBatch, LocalTraining, MixGroup, Objective, Problem
from splitmix.algorithms.importance_mask import importance_masked
from splitmix.algorithms.method import Method
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.algorithms.slices import refuse_running_statistics
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.models.dependence import norm_entries
from splitmix.models.network import (
    ROUNDING,
    LaneNetwork,
    Model,
    NetworkSpec,
    Tensors,
    lane_template,
)

KEPT, POSITIONS = "kept", "positions"
"""Entries of what travels: values of the kept weights, the largest first, and where they lie among all weights."""
THRESHOLD = "threshold"
RANKING = "ranking"
CHANGE, CHANGED = "change/", "changed/"


@dataclass(frozen=True)
class FIARSE:
    """Settings of `algorithm=fiarse`.

    Where we differ from the authors' code (HarliWu/FIARSE: fiarse/server.py, fiarse/model/model_utils.py): the size of
    a sub-model is given as the width of a slice with as many parameters, so that size 1/64 is budget 1/8; a client of
    the whole network masks nothing, where the authors' threshold is the smallest weight; batch normalisation takes
    statistics of the batch (`model.bn=batch`); the local optimizer is that of `optimizer`, where theirs is plain SGD
    (`optimizer.momentum=0 optimizer.weight_decay=0`).
    """

    name: ClassVar[str] = "fiarse"
    label: ClassVar[str] = "FIARSE"

    def bind(self, model: Model, problem: Problem) -> FIARSEMethod:
        """Check the settings against the model and the problem.

        Raises:
            UserError: running statistics, which sub-models of different sizes cannot share.
        """
        refuse_running_statistics(model, self.name, "sub-models of different sizes")
        model.check(problem.input_shape, problem.full_width)
        return FIARSEMethod(self, model, problem)


@dataclass(frozen=True)
class FIARSEMethod(Method):
    """FIARSE bound to a model and a problem (see `splitmix.algorithms.method.Method`).

    The weights are all entries outside normalisation, which every client trains whole. The server remembers
    their ranking by size; a client of budget b holds the first of them, as many as the share (b / largest budget)² of
    all. Sums over clients are kept in the order of that ranking, in which the weights of every client come first.
    """

    settings: FIARSE
    uses_start: ClassVar[bool] = True

    @cached_property
    def spec(self) -> NetworkSpec:
        """The network of every lane, most of whose weights are 0 for a small budget."""
        return NetworkSpec(self.model, self.problem.full_width, self.problem.input_shape, self.problem.classes)

    @property
    def widths(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(self.problem.budget_widths))

    @property
    def notes(self) -> list[str]:
        return ["algorithm=fiarse masks single weights: it saves bytes, and MACs only where a processor skips zeros"]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The entries that are masked."""
        norms = norm_entries(self.spec)
        return tuple(name for name in lane_template(self.spec, 1) if name not in norms)

    @cached_property
    def shapes(self) -> list[torch.Size]:
        """Shape of each of them, without lanes."""
        return [lane_template(self.spec, 1)[name].shape[1:] for name in self.names]

    @cached_property
    def weights(self) -> int:
        """Number of weights."""
        return sum(shape.numel() for shape in self.shapes)

    def kept(self, width: float) -> int:
        """Number of weights in the sub-model of a width."""
        return max(1, int(self.weights * self.share(width) + ROUNDING))

    def share(self, width: float) -> float:
        """Which share of the weights that is."""
        return min(1.0, (width / self.problem.full_width) ** 2)

    def network(self, width: float) -> NetworkSpec:
        self.problem.check_width(width, self.name)
        return self.spec

    def flat(self, tensors: Tensors) -> Tensor:
        """The weights of lanes side by side, `[lanes, weights]`."""
        return torch.cat([tensors[name].flatten(1) for name in self.names], 1)

    def unflat(self, flat: Tensor) -> Tensors:
        """Weights `[lanes, weights]` as entries of the network."""
        parts = flat.split([shape.numel() for shape in self.shapes], 1)
        return {
            name: part.unflatten(1, shape) if shape else part.squeeze(1)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def ranking(self, tensors: Tensors) -> Tensor:
        """Positions of the server's weights, the largest in size first, `[weights]`; of equal ones the first."""
        return self.flat(tensors)[0].abs().argsort(descending=True, stable=True)

    def others(self, tensors: Tensors) -> Tensors:
        """The entries that are not masked."""
        return {name: value for name, value in tensors.items() if name not in self.names}

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        """The server's network with the weights of a sub-model of each width, and 0 in place of the others."""
        groups, flat, ranking = [], self.flat(tensors), self.ranking(tensors)
        for width in widths:
            spec, kept = self.network(width), ranking[: self.kept(width)]
            masked = torch.zeros_like(flat).index_copy_(1, kept, flat[:, kept])
            groups.append(MixGroup(spec, {**self.others(tensors), **self.unflat(masked)}, {width: 1}))
        return groups

    def initial_server_memory(self, tensors: Tensors) -> Tensors:
        """The ranking, so that it is sorted once a round and not for every client."""
        return {RANKING: self.ranking(tensors).to(torch.int32).unsqueeze(0)}

    def finalise(self, state: ServerState, aggregate: Aggregate) -> ServerState:
        after = super().finalise(state, aggregate)
        return replace(after, server={**after.server, **self.initial_server_memory(after.tensors)})

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[ClientTask]:
        budgets = {client: self.problem.budget(client, state.round, seed) for client in participants}
        return [
            ClientTask(state.round, client, self.spec, (0,), {"width": budget}) for client, budget in budgets.items()
        ]

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        # A task that is made up to time training says no width.
        width = float(task.settings.get("width", self.problem.full_width))
        positions = state.server[RANKING][:, : self.kept(width)]
        kept = self.flat(state.tensors)[:, positions[0].long()]
        threshold = kept[:, -1].abs() if self.share(width) < 1 else torch.zeros(1)
        tensors = {**self.others(state.tensors), KEPT: kept, POSITIONS: positions}
        return replace(task, tensors=tensors, context={THRESHOLD: threshold})

    def no_updates(self, state: ServerState) -> Aggregate:
        like = {KEPT: torch.zeros(1, self.weights), **self.others(state.tensors)}
        sums = {CHANGE + name: torch.zeros_like(value) for name, value in like.items()}
        return Aggregate({**sums, **{CHANGED + name: torch.zeros_like(value) for name, value in like.items()}})

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        for name, change in update.tensors.items():
            first = slice(change.shape[1])  # of the ranking; all of the entries that are not masked
            aggregate.sums[CHANGE + name][:, first] += change
            aggregate.sums[CHANGED + name][:, first] += change != 0
        return aggregate

    def average(self, state: ServerState, aggregate: Aggregate) -> Average:
        """The server's entries plus their mean change over the clients that changed them."""
        sums = aggregate.sums
        changed = {name.removeprefix(CHANGED): count for name, count in sums.items() if name.startswith(CHANGED)}
        change = {name: sums[CHANGE + name] / count.clamp(min=1) for name, count in changed.items()}
        positions = state.server[RANKING][0].long()

        def in_place(values: Tensors) -> Tensors:
            ranked = torch.empty_like(values[KEPT]).index_copy_(1, positions, values[KEPT])
            return {**{name: value for name, value in values.items() if name != KEPT}, **self.unflat(ranked)}

        changes, counts = in_place(change), in_place(changed)
        tensors = {name: value + changes[name] for name, value in state.tensors.items()}
        return Average(tensors, {name: counts[name] > 0 for name in tensors})

    def start(self, task: ClientTask, memory: Tensors) -> Tensors:
        kept, positions = task.tensors[KEPT], task.tensors[POSITIONS].long()
        flat = torch.zeros(len(kept), self.weights, dtype=kept.dtype).scatter_(1, positions, kept)
        others = {name: value for name, value in task.tensors.items() if name not in (KEPT, POSITIONS)}
        return {**others, **self.unflat(flat)}

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        entries, threshold = dict(network.named_parameters()), batch.context[THRESHOLD]
        # A client of the whole network masks nothing.
        masked = self.names if any(self.share(budget) < 1 for budget in batch.budgets) else ()
        kept = {name: importance_masked(entries[name], threshold) for name in masked}
        logits = functional_call(network, {**entries, **kept}, (batch.images,))
        losses = lane_cross_entropy(logits, batch.labels, masked=self.problem.masked_loss)
        return Objective.of(losses, logits, batch.labels)

    def finish(self, task: ClientTask, memory: Tensors, tensors: Tensors, training: LocalTraining) -> ClientResult:
        """Changes of the weights that it held, in the order of the ranking, and of the other entries."""
        positions = task.tensors[POSITIONS].long()
        kept = self.flat(tensors).gather(1, positions) - task.tensors[KEPT]
        others = {name: value - task.tensors[name] for name, value in self.others(tensors).items()}
        return ClientResult({**others, KEPT: kept})

    @cached_property
    def other_entries(self) -> int:
        """Number of values outside the weights."""
        return sum(value.numel() for value in self.others(lane_template(self.spec, 1)).values())

    def upload_entries(self, budget: float) -> int:
        return self.kept(budget) + self.other_entries

    def download_entries(self, budget: float) -> int:
        """The kept weights, their positions, the threshold, and the other entries."""
        return 2 * self.kept(budget) + 1 + self.other_entries

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        """The share of the network's multiplications that kept weights take part in, on average over layers."""
        return [(self.spec, self.share(budget))]
