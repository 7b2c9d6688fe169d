"""What a federated method is: a few functions of a plain server value. Every algorithm file follows this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, Model, NetworkSpec, Tensors, batch_norm_entries
from splitmix.robustness.attacks import Attack, LinfPGD

Streams = Sequence[np.random.Generator]


@dataclass(frozen=True)
class Problem:
    """What a federation has to learn, as far as a method needs to know.

    Attributes:
        input_shape: channels, height, width of an image.
        classes: number of classes.
        budgets: largest width that each client can train, in client order.
        masked_loss: label-skewed data: the loss ignores the classes absent from the batch.
        listed: the widths of the budgets as the user listed them, duplicates too; () are those that clients have.
        attack: what adversarial training attacks with.
    """

    input_shape: tuple[int, int, int]
    classes: int
    budgets: tuple[float, ...]
    masked_loss: bool = False
    listed: tuple[float, ...] = ()
    attack: Attack = field(default_factory=LinfPGD)

    @property
    def budget_widths(self) -> tuple[float, ...]:
        """The widths of the budgets, ascending, as often as they were listed."""
        return tuple(sorted(self.listed or set(self.budgets)))

    @property
    def full_width(self) -> float:
        """The width of the whole network: the largest budget."""
        return max(self.budgets)


@dataclass(frozen=True)
class Work:
    """What one client trains in one round.

    Attributes:
        client: index of the client.
        spec: the network of each lane.
        rows: rows of the server's tensors that the lanes start from and report back to, one per lane.
    """

    client: int
    spec: NetworkSpec
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Update:
    """What came back from a client: its work, its weight (number of training samples), its trained lanes."""

    work: Work
    weight: float
    tensors: Tensors


@dataclass(frozen=True)
class MixGroup:
    """Lanes evaluated in one pass: the prediction at a width is the mean of the logits of the first so many lanes.

    Attributes:
        spec: the network of each lane.
        tensors: the lanes.
        sizes: number of lanes mixed, by width.
    """

    spec: NetworkSpec
    tensors: Tensors
    sizes: dict[float, int]


@dataclass(frozen=True)
class ServerState:
    """The federation between two rounds. A plain value: a round makes a new one.

    Attributes:
        method: the bound algorithm that gives the tensors their meaning.
        round: number of rounds done.
        tensors: parameters and statistics; the leading dimension counts base models.
        local: BN mode `local`: every client's own batch-normalisation entries, `[clients, base models, ...]`.
    """

    method: Method
    round: int
    tensors: Tensors
    local: Tensors = field(default_factory=dict)

    def after(self, tensors: Tensors, local: Tensors | None = None) -> ServerState:
        """The state one round later."""
        return replace(self, round=self.round + 1, tensors=tensors, local=self.local if local is None else local)

    def select(self, rows: Sequence[int]) -> ServerState:
        """The same with its base models in another order, or some of them."""
        tensors = {name: value[list(rows)] for name, value in self.tensors.items()}
        return replace(self, tensors=tensors, local={name: value[:, list(rows)] for name, value in self.local.items()})

    def lanes(self, client: int, rows: Sequence[int]) -> Tensors:
        """Base models as this client starts from them."""
        own = {name: value[client, list(rows)] for name, value in self.local.items()}
        return {name: own[name] if name in own else value[list(rows)] for name, value in self.tensors.items()}


def initial_local(spec: NetworkSpec, tensors: Tensors, clients: int) -> Tensors:
    """Every client's own batch normalisation at the start: the server's (nothing unless the BN mode is `local`)."""
    if spec.bn != "local":
        return {}
    return {name: tensors[name].expand(clients, *tensors[name].shape).clone() for name in batch_norm_entries(spec)}


@dataclass(frozen=True)
class Objective:
    """What the client objective computed on one batch of every lane.

    Attributes:
        loss: `[lanes]`, to be minimised.
        mean_loss: `[lanes]`, detached, the mean over the lane's models: what is reported.
        accuracy: `[lanes]`, the share of right predictions, in [0, 1].
    """

    loss: Tensor
    mean_loss: Tensor
    accuracy: Tensor

    @classmethod
    def of(cls, losses: Tensor, logits: Tensor, labels: Tensor) -> Objective:
        """The objective of lanes that are one model each: losses `[lanes]`, logits `[lanes, n, classes]`."""
        return cls(losses, losses.detach(), accuracy(logits, labels))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of right predictions `[lanes]` of logits `[lanes, n, classes]` for labels `[lanes, n]`."""
    return (logits.detach().argmax(-1) == labels).float().mean(-1)


class Method(Protocol):
    """An algorithm bound to a model and a problem: what the federation loop, the tests and the tools call."""

    @property
    def name(self) -> str: ...

    @property
    def base_models(self) -> int:
        """Leading dimension of the server's tensors."""
        ...

    @property
    def mixes(self) -> bool:
        """Whether a width is a number of base models whose logits are averaged."""
        ...

    @property
    def widths(self) -> tuple[float, ...]:
        """Every width that this method can give without retraining, ascending."""
        ...

    @property
    def adversarial(self) -> bool:
        """Whether training sees attacked images, so that robust accuracy (RA) is worth measuring."""
        ...

    @property
    def adv_lambdas(self) -> tuple[float, ...]:
        """The levels of robustness to show, ascending; (0,) where none can be chosen in situ."""
        ...

    @property
    def ra_weight(self) -> float:
        """Weight of validation RA, at the highest level, in choosing the best round; the rest is SA at level 0."""
        ...

    @property
    def notes(self) -> list[str]:
        """What a user may not expect of these settings, one line each."""
        ...

    def initial_state(self, seed: int) -> ServerState: ...

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[Work]:
        """Which client trains what in round `state.round`; a function of its arguments alone."""
        ...

    def extract(self, state: ServerState, work: Work) -> Tensors:
        """The tensors that the client downloads: its lanes, leading dimension `len(work.rows)`."""
        ...

    def objective(self, network: LaneNetwork, images: Tensor, labels: Tensor, streams: Streams) -> Objective:
        """The client objective on one batch of every lane.

        Args:
            network: lanes of the work's architecture, in training mode.
            images: float in [0, 1], shared or per lane (see `LaneNetwork`).
            labels: int64 `[lanes, n]`.
            streams: one source of randomness per lane, its own in this round.
        """
        ...

    def merge(self, state: ServerState, updates: Iterable[Update]) -> ServerState:
        """Aggregate, consuming the updates as a stream."""
        ...

    def mix_groups(self, tensors: Tensors, widths: Sequence[float]) -> list[MixGroup]:
        """What to evaluate for these widths. Raises UserError for a width that the method cannot give."""
        ...

    def upload_entries(self, budget: float) -> int:
        """Number of values that a client of this budget downloads, and uploads, in a round."""
        ...

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        """The networks that a client of this budget runs through in a training step, and how often on average."""
        ...


class Algorithm(Protocol):
    """The settings of one option of the config group `algorithm`."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        ...

    def bind(self, model: Model, problem: Problem) -> Method:
        """Check the settings against the model and the problem (UserError) and return the method."""
        ...


def check_adv_lambda(method: Method, adv_lambda: float, key: str = "adv_lambda") -> None:
    """Raise UserError for a level outside [0, 1], or one that this method cannot give in situ."""
    if not 0 <= adv_lambda <= 1:
        raise UserError(f"{key}={shown(adv_lambda)}: give a value from 0 to 1")
    if adv_lambda and len(method.adv_lambdas) == 1:
        raise UserError(
            f"{key}={shown(adv_lambda)}: the run was trained without dual batch normalisation, only 0 is possible;"
            " train with algorithm.adv_lambda between 0 and 1, or algorithm=fedavg_oat"
        )
