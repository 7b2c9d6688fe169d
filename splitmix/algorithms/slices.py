"""What the methods share that train slices of one full network: extraction, merging, and the model of a width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.func import functional_call

from splitmix.algorithms.averaging import Average, add_slices, average_slices, corners, no_slices
from splitmix.algorithms.base import MixGroup, Problem
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.errors import UserError
from splitmix.models.channels import hidden_dims
from splitmix.models.network import LaneNetwork, Model, NetworkSpec, Tensors, lane_entries, lane_template

Offsets = Callable[[int], int]
"""The first channel of a slice, by the number of channels of the layer."""


class SliceSettings(Protocol):
    """What the settings of such a method must tell."""

    name: ClassVar[str]

    @property
    def rescale_layer(self) -> bool: ...


@dataclass(frozen=True)
class SliceMethod(Method):
    """HeteroFL's server and clients (see `splitmix.algorithms.method.Method`); the others change a function or two.

    The server holds one network of the largest budget's width. A client of budget b trains the first ceil(b * C)
    channels of every hidden layer; input channels and classes are whole.
    """

    settings: SliceSettings

    @property
    def candidates(self) -> tuple[float, ...]:
        """The distinct widths of the budgets, ascending."""
        return tuple(dict.fromkeys(self.problem.budget_widths))

    @property
    def widths(self) -> tuple[float, ...]:
        return self.candidates

    def spec(self, width: float) -> NetworkSpec:
        """The slice of a width."""
        return NetworkSpec(
            self.model,
            width,
            self.problem.input_shape,
            self.problem.classes,
            rescale_layer=self.settings.rescale_layer,
            slice=True,
        )

    @property
    def full(self) -> NetworkSpec:
        """The server's network."""
        return self.spec(self.problem.full_width)

    def offset(self, round_index: int, channels: int) -> int:
        """The first channel of every client's slice in a round, in a layer of so many channels."""
        return 0

    def offsets(self, round_index: int) -> Offsets:
        """`offset` in this round, as a function of the number of channels."""
        return partial(self.offset, round_index)

    @property
    def server_network(self) -> NetworkSpec:
        return self.full

    def network(self, width: float) -> NetworkSpec:
        self.problem.check_width(width, self.name)
        return self.spec(width)

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[ClientTask]:
        specs = {budget: self.spec(budget) for budget in set(self.problem.budgets)}
        return [
            ClientTask(state.round, client, specs[self.problem.budget(client, state.round, seed)], (0,))
            for client in participants
        ]

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        return replace(task, tensors=window(state.tensors, self.full, task.spec, self.offsets(state.round)))

    def no_updates(self, state: ServerState) -> Aggregate:
        return no_slices(state)

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        return add_slices(aggregate, update)

    def average(self, state: ServerState, aggregate: Aggregate) -> Average:
        """Every entry on average over the clients whose slice holds it."""
        offsets = self.offsets(state.round)
        # The clients' slices begin at channel `offset`, which the sums have first.
        moved = average_slices(rolled(state.tensors, self.full, offsets, back=True), aggregate)
        return Average(rolled(moved.tensors, self.full, offsets), rolled(moved.trained, self.full, offsets))

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        specs = {width: self.network(width) for width in widths}
        # The slice that clients of the width trained last.
        offsets = self.offsets(max(rounds - 1, 0))
        return [MixGroup(spec, window(tensors, self.full, spec, offsets), {width: 1}) for width, spec in specs.items()]

    def upload_entries(self, budget: float) -> int:
        return lane_entries(self.spec(budget))

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        return [(self.spec(budget), 1.0)]


def bound(method: type[SliceMethod], settings: SliceSettings, model: Model, problem: Problem) -> SliceMethod:
    """A slice method, its model checked.

    Raises:
        UserError: a network that cannot be sliced so far, or running statistics, which slices cannot share.
    """
    refuse_running_statistics(model, settings.name, "slices of different widths")
    model.check(problem.input_shape, min(problem.budgets))
    return method(settings, model, problem)


def refuse_running_statistics(model: Model, algorithm: str, parts: str) -> None:
    """Raise UserError for a model that keeps running statistics, which parts of one network cannot share."""
    if model.bn != "batch":
        raise UserError(
            f"model.bn={model.bn}: algorithm={algorithm} has {parts} in one network, which cannot share running"
            " statistics; use model.bn=batch (and test.bn=post to fix statistics afterwards)"
        )


def check_weighting(weighting: str, known: Sequence[str]) -> None:
    """Raise UserError unless `algorithm.weighting` is one of these."""
    if weighting not in known:
        raise UserError(f"algorithm.weighting={weighting}: choose {' or '.join(known)}")


def window(tensors: Tensors, full: NetworkSpec, part: NetworkSpec, offsets: Offsets) -> Tensors:
    """The channels `offset`, `offset + 1`, … of every hidden layer, cyclically, as many as `part` has.

    Args:
        tensors: of the network `full`, leading dimension lanes.
        offsets: the offset by the layer's number of channels.
    """
    template = lane_template(part, 1)
    slices = dict(tensors)
    for name, dim, block in hidden_dims(full):
        size = tensors[name].shape[dim]
        if name in template and (offset := offsets(size // block)):
            units = torch.arange(template[name].shape[dim] // block)
            index = ((units.unsqueeze(1) + offset) * block % size + torch.arange(block)).flatten()
            slices[name] = slices[name].index_select(dim, index)
    return corners(slices, template)


def rolled(tensors: Tensors, full: NetworkSpec, offsets: Offsets, back: bool = False) -> Tensors:
    """The network `full` with the channels of every hidden layer moved up, or back, by their offsets, cyclically."""
    moved = dict(tensors)
    for name, dim, block in hidden_dims(full):
        if offset := offsets(tensors[name].shape[dim] // block):
            moved[name] = moved[name].roll((-offset if back else offset) * block, dim)
    return moved


@lru_cache(maxsize=64)
def skeleton(spec: NetworkSpec, lanes: int) -> LaneNetwork:
    """A network in training mode without weights of its own, to call with others'."""
    with torch.device("meta"):
        return spec.build(lanes).train()


def forward_slices(
    tensors: Tensors, full: NetworkSpec, widths: Iterable[float], images: Tensor
) -> Iterator[tuple[float, Tensor]]:
    """Logits `[lanes, n, classes]` of slices of a network in training, the widest first.

    Every slice is cut from the one before, so that its gradient is padded only to that one's size.

    Args:
        tensors: parameters of the network, leading dimension lanes.
        full: the network's architecture.
        widths: widths to run, up to the network's own.
    """
    lanes = len(next(iter(tensors.values())))
    for width in sorted(widths, reverse=True):
        spec = replace(full, width=width)
        tensors = corners(tensors, lane_template(spec, 1))
        yield width, functional_call(skeleton(spec, lanes), tensors, (images,))
