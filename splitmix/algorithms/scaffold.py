"""SCAFFOLD: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging for Federated
Learning", ICML 2020 (arXiv 1910.06378), with option II for the control variates.

Every client keeps a control variate c_i, the server keeps c. A client steps along its gradient - c_i + c; then c_i
becomes c_i - c + (x - y) / (K lr), after K steps from x to y. The server averages models, and changes of c_i, uniformly
over the participants (Algorithm 1); c moves by that average times the share of clients that took part. The correction
is part of the gradient, so that weight decay, clipping and momentum act on it too; the paper's clients use plain SGD
(optimizer.momentum=0 optimizer.weight_decay=0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from splitmix.algorithms.base import ClientResult, LaneBatch, LocalTraining, Objective, Problem
from splitmix.algorithms.fedavg import FedAvg, FedAvgMethod
from splitmix.algorithms.values import Aggregate, ClientTask, ServerState, Update
from splitmix.models.network import LaneNetwork, Model, Tensors, lane_template

CONTROL = "control/"
"""Prefix of control variates: in the server's and the clients' memory, in a task's context and an update's extras."""
CLIENTS = "clients"
"""In an aggregate's sums: number of updates."""


@dataclass(frozen=True)
class Scaffold(FedAvg):
    """Settings of `algorithm=scaffold`.

    Attributes:
        width, loss_temperature, adv_lambda: as for FedAvg.
    """

    name: ClassVar[str] = "scaffold"

    @property
    def label(self) -> str:
        return "SCAFFOLD"

    def bind(self, model: Model, problem: Problem) -> ScaffoldMethod:
        """Check the settings against the model and the problem (UserError)."""
        self.check(model, problem)
        return ScaffoldMethod(self, model, problem)


@dataclass(frozen=True)
class ScaffoldMethod(FedAvgMethod):
    """SCAFFOLD bound to a model and a problem (see `splitmix.algorithms.method.Method`)."""

    settings: Scaffold
    uses_start: ClassVar[bool] = True

    def controls(self, tensors: Tensors) -> Tensors:
        """Control variates of these tensors' parameters, all zero."""
        return {CONTROL + name: torch.zeros_like(value) for name, value in self.parameters(tensors).items()}

    def initial_server_memory(self, tensors: Tensors) -> Tensors:
        return self.controls(tensors)

    def initial_client_memory(self, tensors: Tensors) -> Tensors:
        return {**super().initial_client_memory(tensors), **self.controls(tensors)}

    def download(self, state: ServerState, task: ClientTask) -> ClientTask:
        base_models = list(task.base_models)
        controls = {name: value[base_models] for name, value in controls_in(state.server).items()}
        return replace(super().download(state, task), context=controls)

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        plain = super().objective(network, batch)
        # The gradient of this linear term is c - c_i.
        terms = [
            ((batch.context[CONTROL + name] - batch.memory[CONTROL + name]) * value).flatten(1).sum(1)
            for name, value in network.named_parameters()
        ]
        return replace(plain, loss=plain.loss + torch.stack(terms).sum(0))

    def finish(self, task: ClientTask, memory: Tensors, tensors: Tensors, training: LocalTraining) -> ClientResult:
        plain = super().finish(task, memory, tensors, training)
        start, scale = self.start(task, memory), 1 / (training.steps * training.lr)
        controls = {
            name: control - task.context[name] + scale * (start[entry] - tensors[entry])
            for name, control in controls_in(memory).items()
            for entry in [name.removeprefix(CONTROL)]
        }
        changes = {name: value - memory[name] for name, value in controls.items()}
        return ClientResult(plain.tensors, changes, {**plain.memory, **controls})

    def no_updates(self, state: ServerState) -> Aggregate:
        plain = super().no_updates(state)
        controls = {name: torch.zeros_like(value) for name, value in controls_in(state.server).items()}
        return replace(plain, sums={**plain.sums, **controls, CLIENTS: torch.zeros(())})

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        for name, value in update.extras.items():
            aggregate.sums[name] += value
        aggregate.sums[CLIENTS] += 1
        return super().accumulate(aggregate, replace(update, weight=1.0))

    def finalise(self, state: ServerState, aggregate: Aggregate) -> ServerState:
        after = super().finalise(state, aggregate)
        # 1/N of the sum of changes: the mean change of the participants, times their share of the N clients.
        controls = {
            name: value + aggregate.sums[name] / len(self.problem.budgets)
            for name, value in controls_in(state.server).items()
        }
        return replace(after, server={**after.server, **controls})

    def upload_entries(self, budget: float) -> int:
        """The model, and a change of a control variate for each of its parameters."""
        return super().upload_entries(budget) + sum(
            value.numel() for value in self.parameters(lane_template(self.spec, 1)).values()
        )


def controls_in(memory: Tensors) -> Tensors:
    """The control variates among what a client or the server remembers."""
    return {name: value for name, value in memory.items() if name.startswith(CONTROL)}
