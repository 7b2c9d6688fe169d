"""The values of a round that travel between server and clients: plain data, with a dict form of arrays and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitmix.algorithms.client_rows import places
from splitmix.algorithms.plain_data import arrays, tensors_of
from splitmix.models.network import Model, NetworkSpec, Tensors


@dataclass(frozen=True)
class ClientTask:
    """What one client trains in one round.

    A task that is only planned says who trains what; `Method.download` adds what the client downloads. Each lane is one
    network: base model `base_models[i]` of the server, as this client trains it.

    Attributes:
        round: 0-based round.
        client: index of the client.
        spec: the architecture of every lane.
        base_models: the server's base models that the lanes start from, one per lane.
        settings: plain values (JSON) that the method adds for this client.
        tensors: the downloaded parameters and statistics, `[lanes, ...]`.
        context: tensors that the method adds (masks, control variates, …), `[lanes, ...]`.
    """

    round: int
    client: int
    spec: NetworkSpec
    base_models: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Tensors = field(default_factory=dict)
    context: Tensors = field(default_factory=dict)

    def select(self, lanes: Sequence[int]) -> ClientTask:
        """The same task with these of its lanes alone."""
        picked = list(lanes)
        return replace(
            self,
            base_models=tuple(self.base_models[lane] for lane in picked),
            tensors={name: value[picked] for name, value in self.tensors.items()},
            context={name: value[picked] for name, value in self.context.items()},
        )

    def planned(self) -> ClientTask:
        """The same task without its tensors."""
        return replace(self, tensors={}, context={})

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON values and NumPy arrays. The network family is left out, both sides know it."""
        spec = {item.name: getattr(self.spec, item.name) for item in fields(self.spec) if item.name != "model"}
        return {
            "round": self.round,
            "client": self.client,
            "spec": spec,
            "base_models": list(self.base_models),
            "settings": dict(self.settings),
            "tensors": arrays(self.tensors),
            "context": arrays(self.context),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], model: Model) -> ClientTask:
        """The task in such a dict.

        Args:
            model: the network family, which never travels.
        """
        # JSON has lists alone.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data["spec"].items()
        }
        spec = NetworkSpec(model, **values)
        return cls(
            data["round"],
            data["client"],
            spec,
            tuple(data["base_models"]),
            data["settings"],
            tensors_of(data["tensors"]),
            tensors_of(data["context"]),
        )


@dataclass(frozen=True)
class Update:
    """What a client uploads.

    Attributes:
        task: what it was asked to do, as planned.
        weight: its number of training samples.
        tensors: trained parameters and statistics, `[lanes, ...]`, without what stays with the client.
        extras: tensors that the method adds, `[lanes, ...]`.
        measurements: what training measured, `[lanes]` each: `loss` (mean over samples) and `accuracy`.
    """

    task: ClientTask
    weight: float
    tensors: Tensors
    extras: Tensors = field(default_factory=dict)
    measurements: Tensors = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON values and NumPy arrays."""
        return {
            "task": self.task.planned().to_dict(),
            "weight": self.weight,
            "tensors": arrays(self.tensors),
            "extras": arrays(self.extras),
            "measurements": arrays(self.measurements),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], model: Model) -> Update:
        """The update in such a dict; `model` is the network family, which never travels."""
        return cls(
            ClientTask.from_dict(data["task"], model),
            data["weight"],
            tensors_of(data["tensors"]),
            tensors_of(data["extras"]),
            tensors_of(data["measurements"]),
        )


@dataclass(frozen=True)
class Aggregate:
    """What the server keeps of the updates that have come so far.

    Its memory does not grow with the number of updates, unless a method keeps `updates`, as a median needs.

    Attributes:
        sums: tensors that are added where two aggregates are combined: weighted sums, and the weights themselves.
        latest: entries `[base models, ...]` that are copied from the client of the highest number.
        latest_client: that client, int64 `[base models]`; -1 before the first.
        updates: whole updates, for a rule that needs every one of them.
    """

    sums: Tensors = field(default_factory=dict)
    latest: Tensors = field(default_factory=dict)
    latest_client: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    updates: tuple[Update, ...] = ()

    def combine(self, other: Aggregate) -> Aggregate:
        """The aggregate of both sets of updates."""
        newer = other.latest_client > self.latest_client
        return Aggregate(
            {name: value + other.sums[name] for name, value in self.sums.items()},
            {
                name: torch.where(leading(newer, value), other.latest[name], value)
                for name, value in self.latest.items()
            },
            torch.maximum(self.latest_client, other.latest_client),
            self.updates + other.updates,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON values and NumPy arrays."""
        return {
            "sums": arrays(self.sums),
            "latest": arrays(self.latest),
            "latest_client": self.latest_client.numpy(),
            "updates": [update.to_dict() for update in self.updates],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], model: Model) -> Aggregate:
        """The aggregate in such a dict; `model` is the network family, which never travels."""
        return cls(
            tensors_of(data["sums"]),
            tensors_of(data["latest"]),
            torch.from_numpy(np.array(data["latest_client"])),
            tuple(Update.from_dict(update, model) for update in data["updates"]),
        )


@dataclass(frozen=True)
class ServerState:
    """The federation between two rounds. Plain tensors, no code: the method gives them their meaning.

    Attributes:
        round: number of rounds done.
        tensors: parameters and statistics, `[base models, ...]`.
        server: the server's own memory (moments of its optimizer, control variates), `[base models, ...]`.
        clients: every client's own memory (its batch normalisation, control variates), `[clients, base models, ...]`.
            In a deployment it never leaves the client. An entry named as one of `tensors` takes its place there.
        slots: int64 `[clients]`, of very many clients: the row of each one in `clients`, which then has no others than
            those that have trained (see `client_rows.py`); None: the client's own number.
    """

    round: int
    tensors: Tensors
    server: Tensors = field(default_factory=dict)
    clients: Tensors = field(default_factory=dict)
    slots: Tensor | None = None

    def select(self, base_models: Sequence[int]) -> ServerState:
        """The same with its base models in another order, or some of them."""
        picked = list(base_models)
        return replace(
            self,
            tensors={name: value[picked] for name, value in self.tensors.items()},
            server={name: value[picked] for name, value in self.server.items()},
            clients={name: value[:, picked] for name, value in self.clients.items()},
        )

    def memory(self, task: ClientTask) -> Tensors:
        """What the client of a task remembers for its lanes, `[lanes, ...]`."""
        base_models, [row] = list(task.base_models), places(self.slots, [task.client])
        return {name: value[row, base_models] for name, value in self.clients.items()}

    def rows(self, clients: Sequence[int]) -> Tensors:
        """What these clients remember, `[len(clients), base models, ...]`."""
        numbers = places(self.slots, clients)
        return {name: value[numbers] for name, value in self.clients.items()}

    def only(self, clients: Sequence[int]) -> ServerState:
        """The same with the memory of these clients alone, in their order; without slots."""
        return replace(self, clients=self.rows(clients), slots=None)

    def dense(self) -> ServerState:
        """The same with a row for every client, without slots."""
        return self if self.slots is None else self.only(range(len(self.slots)))

    @property
    def local(self) -> Tensors:
        """The clients' own entries of the model: of their memory, what is named as one of `tensors`."""
        return {name: value for name, value in self.clients.items() if name in self.tensors}


def leading(per_base_model: Tensor, like: Tensor) -> Tensor:
    """`[base models]` with as many dimensions as `like`, to be broadcast over its others."""
    return per_base_model.view(-1, *[1] * (like.dim() - 1))
