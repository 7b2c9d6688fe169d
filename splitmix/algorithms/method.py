"""The base class of every algorithm bound to a model and a problem: what the loop, the clients and the tools call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from splitmix.algorithms.adversarial import adversarial_objective, step_cost
from splitmix.algorithms.aggregation import Mean
from splitmix.algorithms.averaging import Average, add_rows, average_rows, no_rows
from splitmix.algorithms.base import ClientResult, LaneBatch, LocalTraining, MixGroup, Objective, Problem
from splitmix.algorithms.client_rows import first_rows
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.algorithms.robust_rows import kept_update, rule_rows
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.models.network import (
    LaneNetwork,
    Model,
    NetworkSpec,
    Tensors,
    batch_norm_entries,
    lane_entries,
    parameter_entries,
)
from splitmix.randomness import torch_rng


@dataclass(frozen=True)
class Method:
    """A method whose lanes are whole base models of the server, averaged one by one over the clients that trained them.

    A subclass must give `network`, `plan`, `mix_groups` and `training_load`; it changes what else it does otherwise.
    The functions of the server are `plan`, `download`, `no_updates`, `accumulate`, `combine` and `finalise`; those of
    the client are `start`, `objective` and `finish`. All are functions of their arguments alone.

    Attributes:
        settings: the algorithm's settings.
        model: the network family.
        problem: what the federation has to learn.
    """

    settings: Any
    model: Model
    problem: Problem

    mixes: ClassVar[bool] = False
    """Whether a width is a number of base models whose logits are averaged."""
    uses_start: ClassVar[bool] = False
    """Whether the client's rules need what a lane started the round from. Otherwise `LaneBatch.start`, and the tensors
    of the task that `finish` sees, may be left empty, which saves copies of the model."""

    @property
    def uses_classes(self) -> bool:
        """Whether the client's rules need the classes of its images. Otherwise `LaneBatch.class_counts` is empty."""
        return False

    @property
    def name(self) -> str:
        return str(self.settings.name)

    @property
    def called(self) -> str:
        """The keys that chose it, for errors."""
        return f"algorithm={self.name}"

    @property
    def varies(self) -> bool:
        """Whether a client of one budget trains networks of another cost from round to round."""
        return False

    @property
    def base_models(self) -> int:
        """Leading dimension of the server's tensors."""
        return 1

    @property
    def widths(self) -> tuple[float, ...]:
        """Every width that this method can give without retraining, ascending."""
        raise NotImplementedError

    @property
    def temperature(self) -> float:
        """tau of the training loss tau * CE(logits / tau)."""
        return 1.0

    @property
    def adv_lambda(self) -> float:
        """Weight of the adversarial loss in training."""
        return 0.0

    @property
    def adversarial(self) -> bool:
        """Whether training sees attacked images, so that robust accuracy (RA) is worth measuring."""
        return self.adv_lambda > 0

    @property
    def adv_lambdas(self) -> tuple[float, ...]:
        """The levels of robustness to show, ascending; (0,) where none can be chosen in situ."""
        return (0.0,)

    @property
    def ra_weight(self) -> float:
        """Weight of validation RA, at the highest level, in choosing the best round; the rest is SA at level 0."""
        return 0.0

    @property
    def notes(self) -> list[str]:
        """What a user may not expect of these settings, one line each."""
        return []

    @property
    def step_cost(self) -> float:
        """What a training step costs, a plain one being 1."""
        return step_cost(self.problem, self.adv_lambda)

    # The network of a width.

    def network(self, width: float) -> NetworkSpec:
        """The architecture of the lanes that are mixed at this width. Raises UserError for one that it cannot give."""
        raise NotImplementedError

    @property
    def server_network(self) -> NetworkSpec:
        """The architecture of one base model of the server."""
        return self.network(self.widths[-1])

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        """What to evaluate for these widths.

        Args:
            tensors: the server's model.
            rounds: how many rounds it has been trained for.

        Raises:
            UserError: a width that the method cannot give.
        """
        raise NotImplementedError

    # The server's side of a round.

    def initial_state(self, seed: int) -> ServerState:
        """The server before the first round. Its names and shapes are those of every later round."""
        tensors = self.server_network.initial_tensors(self.base_models, torch_rng(seed, "init"))
        clients, slots = first_rows(self.initial_client_memory(tensors), len(self.problem.budgets))
        moments = self.problem.server_optimizer.initial_memory(self.parameters(tensors))
        return ServerState(0, tensors, self.initial_server_memory(tensors) | moments, clients, slots)

    def parameters(self, tensors: Tensors) -> Tensors:
        """Of the server's tensors, what is trained."""
        names = parameter_entries(self.server_network)
        return {name: value for name, value in tensors.items() if name in names}

    def initial_server_memory(self, tensors: Tensors) -> Tensors:
        """What the server remembers between rounds beside the model, `[base models, ...]`; given the first model."""
        return {}

    def initial_client_memory(self, tensors: Tensors) -> Tensors:
        """What each client remembers between rounds, `[base models, ...]`; given the first model.

        Here its own batch normalisation in BN mode `local`, under the names of the model's entries.
        """
        spec = self.server_network
        local = batch_norm_entries(spec) if spec.bn == "local" else ()
        return {name: value for name, value in tensors.items() if name in local}

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[ClientTask]:
        """Which client trains what in round `state.round`, without tensors; a function of its arguments alone."""
        raise NotImplementedError

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        """The task with the tensors that its client downloads, and the context of the method."""
        base_models = list(task.base_models)
        return replace(task, tensors={name: value[base_models] for name, value in state.tensors.items()})

    def no_updates(self, state: ServerState) -> Aggregate:
        """The aggregate of a round before the first update."""
        return no_rows(state)

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        """The aggregate with one more update. It may change the given one in place; the update's tensors are not kept.

        The order of the updates may decide the last bits of a sum.
        """
        added = add_rows(aggregate, update)
        if isinstance(self.problem.aggregation, Mean):
            return added
        return replace(added, updates=(*added.updates, kept_update(update)))

    def combine(self, first: Aggregate, second: Aggregate) -> Aggregate:
        """The aggregate of two servers, each of which has seen some of the updates."""
        return first.combine(second)

    def average(self, state: ServerState, aggregate: Aggregate) -> Average:
        """What the clients trained, on average, or what the rule of `aggregation` makes of it."""
        average = average_rows(state, aggregate)
        return rule_rows(state, aggregate.updates, average, self.problem.aggregation, self.server_network)

    def finalise(self, state: ServerState, aggregate: Aggregate) -> ServerState:
        """The server after the round: the server optimizer's step towards the average. The clients' memory stays."""
        average, optimizer = self.average(state, aggregate), self.problem.server_optimizer
        after = self.parameters(average.tensors)
        before = {name: state.tensors[name] for name in after}
        stepped, memory = optimizer.step(before, after, average.trained, state.server)
        new = {**state.tensors, **average.tensors, **stepped}
        tensors = {name: new[name] for name in state.tensors}
        return replace(state, round=state.round + 1, tensors=tensors, server={**state.server, **memory})

    def merge(self, state: ServerState, updates: Iterable[Update]) -> ServerState:
        """The server after a round of these updates, one after another."""
        aggregate = self.no_updates(state)
        for update in updates:
            aggregate = self.accumulate(aggregate, update)
        return self.finalise(state, aggregate)

    # The client's side of a round.

    def start(self, task: ClientTask, memory: Tensors) -> Tensors:
        """The tensors that the client's lanes start from: downloaded ones, or its own of the same name."""
        return {name: memory.get(name, value) for name, value in task.tensors.items()}

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        """The client objective on one batch of every lane.

        The network is in training mode.
        """
        if self.adv_lambda:
            return self.attacked_objective(network, batch)
        logits, masked = network(batch.images), self.problem.masked_loss
        losses = lane_cross_entropy(logits, batch.labels, masked=masked, temperature=self.temperature)
        return Objective.of(losses, logits, batch.labels)

    def attacked_objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        """The same in adversarial training."""
        return adversarial_objective(network, batch, self.problem, self.adv_lambda)

    def finish(self, task: ClientTask, memory: Tensors, tensors: Tensors, training: LocalTraining) -> ClientResult:
        """What the client uploads of its trained lanes, and what it remembers.

        Args:
            task: with what was downloaded, where the method `uses_start`.
            memory: what the client remembered for these lanes, `[lanes, ...]`.
            tensors: the trained lanes; they are overwritten later, so that a result that stays must be a copy.
        """
        kept = {name: value for name, value in tensors.items() if name in memory}
        return ClientResult({name: value for name, value in tensors.items() if name not in kept}, memory=kept)

    # What it costs.

    def upload_entries(self, budget: float) -> int:
        """Number of values that a client of this budget uploads in a round."""
        return lane_entries(self.network(budget))

    def download_entries(self, budget: float) -> int:
        """Number of values that a client of this budget downloads in a round."""
        return self.upload_entries(budget)

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        """The networks that a client of this budget runs through in a training step, and how often on average."""
        raise NotImplementedError
