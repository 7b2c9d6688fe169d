"""Split-Mix with base models of unequal widths: which of them a client trains, how they are merged and mixed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate

import torch

from splitmix.algorithms.averaging import Average, add_slices, average_slices, no_slices
from splitmix.algorithms.base import LaneBatch, MixGroup, Objective
from splitmix.algorithms.base_models import BaseModelsMethod
from splitmix.algorithms.objectives import lane_cross_entropy, temperature_of
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors, lane_entries, lane_template
from splitmix.models.side_by_side import SideBySide, entry, member_of
from splitmix.randomness import rng
from splitmix.widths import TOLERANCE, normalized

MEMBERS = "members"
"""In a task's settings: the numbers of the base models that its client trains."""


@dataclass(frozen=True)
class UnequalMethod(BaseModelsMethod):
    """Split-Mix with unequal `base_widths` (see `splitmix.algorithms.method.Method`).

    The server holds all base models side by side in one lane, and so does a client with those that it trains: of a
    budget as many as fit, their widths added up. The model of a width is the mean of the logits of the first base
    models whose widths add up to it.
    """

    @property
    def called(self) -> str:
        return f"algorithm={self.name} with algorithm.base_widths={shown(self.base_widths)}"

    @property
    def base_widths(self) -> tuple[float, ...]:
        """The width of every base model, in the order in which they are mixed."""
        widths: tuple[float, ...] = self.settings.base_widths
        return widths

    @cached_property
    def widths(self) -> tuple[float, ...]:
        return tuple(normalized(total, self.problem.budget_widths) for total in accumulate(self.base_widths))

    def network_of(self, widths: Sequence[float]) -> NetworkSpec:
        """Base models of these widths side by side."""
        return replace(self.base_network(sum(widths)), members=tuple(widths))

    def network(self, width: float) -> NetworkSpec:
        known = normalized(width, self.widths)
        if known not in self.widths:
            raise UserError(
                f"width {width:g}: of algorithm.base_widths={shown(self.base_widths)} the first ones add up to"
                f" {', '.join(f'{one:g}' for one in self.widths)}; choose among these"
            )
        return self.network_of(self.base_widths[: self.widths.index(known) + 1])

    # Which base models a client trains.

    def fitting(self, chosen: Sequence[int], budget: float) -> list[int]:
        """The base models that a client of this budget can train beside those that it has."""
        left = budget - sum(self.base_widths[base] for base in chosen)
        return [b for b, width in enumerate(self.base_widths) if b not in chosen and width <= left + TOLERANCE]

    def shares(self, budget: float) -> dict[tuple[float, ...], float]:
        """How often a client of this budget trains base models of which widths, as shares that add up to 1."""
        return draw_shares(self.base_widths, budget)

    def draw(self, round_index: int, slot: int, client: int, seed: int) -> tuple[int, ...]:
        """The base models that `client` trains in a round, ascending.

        The first is the next one of a server-wide shuffled round-robin that fits into its budget (see
        `SplitMixMethod.plan`), the others are drawn uniformly, one by one, while one fits.
        """
        count, budget = len(self.base_widths), self.problem.budget(client, round_index, seed)
        cycle, position = divmod(slot, count)
        order = rng(seed, "round-robin", cycle).permutation(count).tolist()
        fits = self.fitting([], budget)
        chosen = [next(base for base in [*order[position:], *order[:position]] if base in fits)]
        stream = rng(seed, "base models", round_index, client)
        while fits := self.fitting(chosen, budget):
            chosen.append(fits[int(stream.integers(len(fits)))])
        return tuple(sorted(chosen))

    @property
    def varies(self) -> bool:
        return any(len(self.shares(budget)) > 1 for budget in set(self.problem.budgets))

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[ClientTask]:
        served, tasks = state.round * len(participants), []
        for position, client in enumerate(participants):
            members = self.draw(state.round, served + position, client, seed)
            spec = self.network_of([self.base_widths[base] for base in members])
            tasks.append(ClientTask(state.round, client, spec, (0,), {MEMBERS: list(members)}))
        return tasks

    def members(self, task: ClientTask) -> list[int]:
        """The numbers of the base models that a task's client trains."""
        if MEMBERS in task.settings:
            return list(task.settings[MEMBERS])
        # A task that is made up to time training says no numbers: the first ones of these widths.
        numbers: list[int] = []
        for width in task.spec.members:
            numbers.append(next(b for b, known in enumerate(self.base_widths) if known == width and b not in numbers))
        return numbers

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        members, tensors = self.members(task), {}
        for name in lane_template(task.spec, 1):
            place, rest = member_of(name)
            tensors[name] = state.tensors[entry(members[place], rest)]
        return replace(task, tensors=tensors)

    # How they are merged and mixed.

    def no_updates(self, state: ServerState) -> Aggregate:
        return no_slices(state)

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        members, tensors = self.members(update.task), {}
        for name, value in update.tensors.items():
            place, rest = member_of(name)
            tensors[entry(members[place], rest)] = value
        return add_slices(aggregate, replace(update, tensors=tensors))

    def average(self, state: ServerState, aggregate: Aggregate) -> Average:
        return average_slices(state.tensors, aggregate)

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        specs = {width: self.network(width) for width in widths}
        return [
            MixGroup(spec, {name: tensors[name] for name in lane_template(spec, 1) if name in tensors}, {width: 1})
            for width, spec in specs.items()
        ]

    # What a client minimises, and what that costs.

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        """The sum of the base models' losses, so that none's gradient depends on another."""
        assert isinstance(network, SideBySide)
        parts = [self.of_base_model(one, batch) for one in network.networks()]
        mean_loss, accuracy = (
            torch.stack(values).mean(0)
            for values in ([part.mean_loss for part in parts], [part.accuracy for part in parts])
        )
        return Objective(torch.stack([part.loss for part in parts]).sum(0), mean_loss, accuracy)

    def of_base_model(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        """The objective of lanes of one base model."""
        if self.adv_lambda:
            return self.attacked_objective(network, batch)
        logits, masked = network(batch.images), self.problem.masked_loss
        temperature = temperature_of(self.settings.loss_temperature, network.spec.width)
        losses = lane_cross_entropy(logits, batch.labels, masked=masked, temperature=temperature)
        return Objective.of(losses, logits, batch.labels)

    def upload_entries(self, budget: float) -> int:
        """On average over the draws of base models."""
        return round(sum(share * lane_entries(self.network_of(w)) for w, share in self.shares(budget).items()))

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        return [(self.network_of(widths), share * self.step_cost) for widths, share in self.shares(budget).items()]


@lru_cache(maxsize=256)
def draw_shares(base_widths: tuple[float, ...], budget: float) -> dict[tuple[float, ...], float]:
    """Of `UnequalMethod.draw` how often it gives base models of which widths, ascending, to a client of a budget."""
    there, shares = Counter(base_widths), defaultdict[tuple[float, ...], float](float)
    drawn: dict[tuple[float, ...], float] = {(): 1.0}
    while drawn:
        longer = defaultdict[tuple[float, ...], float](float)
        for widths, share in drawn.items():
            left = budget - sum(widths) + TOLERANCE
            fitting = {
                w: count - widths.count(w) for w, count in there.items() if w <= left and count > widths.count(w)
            }
            if not fitting:
                shares[widths] += share
            for width, count in fitting.items():
                longer[tuple(sorted((*widths, width)))] += share * count / sum(fitting.values())
        drawn = longer
    return dict(shares)
