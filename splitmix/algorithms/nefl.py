"""NeFL: Kang, Cha, Shin, Lee, Kang, "NeFL: Nested Model Scaling for Federated Learning with System Heterogeneous
Clients", IEEE Transactions on Mobile Computing 2025 (arXiv 2308.07761).

One residual network; a client's sub-model is narrower, and lacks blocks too where its budget is small. What a block
adds counts times a learned step size. Weights are averaged, entry by entry, over the clients that have them; norms and
step sizes, which sub-models of different size cannot share, over the clients of the same sub-model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from splitmix.algorithms.averaging import add_slices, corners
from splitmix.algorithms.base import MixGroup, Problem
from splitmix.algorithms.own_labels import WEIGHTINGS, weighted
from splitmix.algorithms.slices import SliceMethod, check_weighting
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.dependence import norm_entries
from splitmix.models.network import ROUNDING, Model, NetworkSpec, Tensors, lane_template, parameter_entries
from splitmix.models.residual import skippable_of, step_entries
from splitmix.widths import normalized


@dataclass(frozen=True)
class NeFL:
    """Settings of `algorithm=nefl`.

    Attributes:
        depth: how much of the scaling blocks may take: 0 none (NeFL-W), 1 all of it.
        learned_steps: learn the step sizes of the blocks; otherwise all of them are 1.
        weighting: of clients in the average: `clients` (all alike) or `samples` (training samples).

    Where we differ from the authors' code (honggkang/nested-federated-learning: NeFL-toy.py, utils/NeFedAvg.py,
    utils/getData.py, models/blocks.py): it lists widths and blocks for each network, where here a rule gives them, for
    five sizes of ResNet-18 the same as its NeFL-WD; it can also skip what a block with a projection adds, here only
    blocks without one are left out, the last first; a skipped block is sent with step size 0 there, and not at all
    here; a client draws in every round a size up to two from its own, larger ones too, where here it trains its
    budget's (`budget.redraw=round` draws anew among all); its ResNet-18 has activations after the convolutions and
    pools after the stem; its transformer keeps attention by size, since heads are not sliced there.
    """

    name: ClassVar[str] = "nefl"
    label: ClassVar[str] = "NeFL"
    rescale_layer: ClassVar[bool] = False

    depth: float = 0.4
    learned_steps: bool = True
    weighting: str = "clients"

    def bind(self, model: Model, problem: Problem) -> NeFLMethod:
        """Check the settings against the model and the problem.

        Raises:
            UserError: a setting out of range, a network without residual blocks, batch normalisation of clients.
        """
        if not 0 <= self.depth <= 1:
            raise UserError(f"algorithm.depth={shown(self.depth)}: give a number from 0 to 1")
        check_weighting(self.weighting, WEIGHTINGS)
        if skippable_of(model) is None:
            raise UserError(
                f"model={model.name}: it has no residual blocks, whose step sizes and number algorithm=nefl varies;"
                " use model=preresnet18 or model=vit"
            )
        if model.bn == "local":
            raise UserError(
                "model.bn=local: algorithm=nefl keeps batch normalisation for each size of network, not for each"
                " client; use model.bn=batch or model.bn=tracked"
            )
        method = NeFLMethod(self, model, problem)
        model.check(problem.input_shape, min(method.spec(width).width for width in method.widths))
        return method


@dataclass(frozen=True)
class NeFLMethod(SliceMethod):
    """NeFL bound to a model and a problem (see `splitmix.algorithms.method.Method`).

    A budget b stands for the share b² of the whole network's parameters, as many as a slice of that width has. Blocks
    are left out, from the last one on, while those that stay have at least the share b^(2 depth); the width gives the
    rest. A sub-model is never wider than that of a larger budget, so that all are nested.

    The server's entries are those of the largest budget's sub-model, and norms and step sizes of every other one, their
    names led by its budget: `0.25/layer1.0.n1.weight`.
    """

    settings: NeFL

    @cached_property
    def candidates(self) -> tuple[float, ...]:
        """The budgets that clients have, ascending: what no client trains has no norms of its own."""
        return tuple(sorted(set(self.problem.budgets)))

    # The sub-model of a budget.

    @cached_property
    def kept_shares(self) -> tuple[float, ...]:
        """The share of the parameters that is left without the last 0, 1, 2, … of the skippable blocks."""
        spec = NetworkSpec(self.model, 1.0, self.problem.input_shape, self.problem.classes, slice=True)
        entries = {name: value.numel() for name, value in lane_template(spec, 1).items()}
        left = total = sum(entries.values())
        shares = [1.0]
        for path in reversed(skippable_of(self.model) or ()):
            left -= sum(count for name, count in entries.items() if name.startswith(f"{path}."))
            shares.append(left / total)
        return tuple(shares)

    def left_out(self, width: float) -> int:
        """How many blocks the sub-model of a budget lacks."""
        least = width ** (2 * self.settings.depth)
        return sum(share >= least - ROUNDING for share in self.kept_shares[1:])

    def channels(self, width: float) -> float:
        """Share of the channels that the sub-model of a budget has."""
        larger = [width, *(other for other in self.candidates if other > width)]
        return min(1.0, *(other / self.kept_shares[self.left_out(other)] ** 0.5 for other in larger))

    def spec(self, width: float) -> NetworkSpec:
        blocks = skippable_of(self.model) or ()
        return replace(
            super().spec(self.channels(width)),
            bn=self.model.bn,
            skipped=blocks[len(blocks) - self.left_out(width) :],
            steps=self.settings.learned_steps,
        )

    def network(self, width: float) -> NetworkSpec:
        """The sub-model of a budget; UserError for one that no client has."""
        known = normalized(width, self.candidates)
        if known not in self.candidates:
            raise UserError(
                f"width {width:g}: algorithm={self.name} has norms and step sizes for the budgets of clients alone;"
                f" choose from {', '.join(f'{one:g}' for one in self.candidates)}"
            )
        return self.spec(known)

    @property
    def notes(self) -> list[str]:
        parts = ", ".join(
            f"{width:g}: width {spec.width:.3g}, {len(spec.skipped) or 'no'} block{'s' * (len(spec.skipped) != 1)} less"
            for width, spec in ((width, self.spec(width)) for width in self.candidates)
        )
        return [f"algorithm={self.name}: sub-models of the budgets ({parts})"]

    # What sub-models do not share.

    def own_entries(self, spec: NetworkSpec) -> frozenset[str]:
        """Names of the entries that belong to one sub-model alone: norms and step sizes."""
        return norm_entries(spec) | step_entries(spec)

    @cached_property
    def prefixes(self) -> dict[NetworkSpec, str]:
        """What leads the server's names of a sub-model's own entries; budgets of one architecture share them."""
        return {**{self.spec(width): f"{width}/" for width in reversed(self.candidates)}, self.full: ""}

    def part(self, tensors: Tensors, spec: NetworkSpec) -> Tensors:
        """The entries of a sub-model; own ones that are not there are cut out of the whole network's."""
        cut, prefix = corners(tensors, lane_template(spec, 1)), self.prefixes[spec]
        own_entries = self.own_entries(spec)
        return {
            name: tensors.get(prefix + name, value) if name in own_entries else value for name, value in cut.items()
        }

    def initial_state(self, seed: int) -> ServerState:
        state = super().initial_state(seed)
        own_entries = {
            prefix + name: value.clone()
            for spec, prefix in reversed(self.prefixes.items())
            for name, value in corners(state.tensors, lane_template(spec, 1)).items()
            if prefix and name in self.own_entries(spec)
        }
        tensors = {**state.tensors, **own_entries}
        memory = self.problem.server_optimizer.initial_memory(self.parameters(tensors))
        return replace(state, tensors=tensors, server={**state.server, **memory})

    def parameters(self, tensors: Tensors) -> Tensors:
        trained = parameter_entries(self.full)
        return {name: value for name, value in tensors.items() if name.rpartition("/")[2] in trained}

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        return replace(task, tensors=self.part(state.tensors, task.spec))

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        spec = update.task.spec
        prefix, own_entries = self.prefixes[spec], self.own_entries(spec)
        tensors = {prefix + name if name in own_entries else name: value for name, value in update.tensors.items()}
        return add_slices(aggregate, weighted(replace(update, tensors=tensors), self.settings.weighting))

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        specs = {width: self.network(width) for width in widths}
        return [MixGroup(spec, self.part(tensors, spec), {width: 1}) for width, spec in specs.items()]
