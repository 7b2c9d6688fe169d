"""What a federated method is: a few functions of a plain server value. Every algorithm file follows this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from splitmix.models.network import LaneNetwork, Model, NetworkSpec, Tensors


@dataclass(frozen=True)
class Problem:
    """What a federation has to learn, as far as a method needs to know.

    Attributes:
        input_shape: channels, height, width of an image.
        classes: number of classes.
        budgets: largest width that each client can train, in client order.
        masked_loss: label-skewed data: the loss ignores the classes absent from the batch.
    """

    input_shape: tuple[int, int, int]
    classes: int
    budgets: tuple[float, ...]
    masked_loss: bool = False

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
    """The server between two rounds. A plain value: a round makes a new one.

    Attributes:
        method: the bound algorithm that gives the tensors their meaning.
        round: number of rounds done.
        tensors: parameters and statistics; the leading dimension counts base models.
    """

    method: Method
    round: int
    tensors: Tensors

    def after(self, tensors: Tensors) -> ServerState:
        """The state one round later."""
        return replace(self, round=self.round + 1, tensors=tensors)


class Method(Protocol):
    """An algorithm bound to a model and a problem: what the federation loop, the tests and the tools call."""

    @property
    def name(self) -> str: ...

    @property
    def base_models(self) -> int:
        """Leading dimension of the server's tensors."""
        ...

    @property
    def widths(self) -> tuple[float, ...]:
        """Every width that this method can give without retraining, ascending."""
        ...

    def initial_state(self, seed: int) -> ServerState: ...

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[Work]:
        """Which client trains what in round `state.round`; a function of its arguments alone."""
        ...

    def extract(self, state: ServerState, work: Work) -> Tensors:
        """The tensors that the client downloads: its lanes, leading dimension `len(work.rows)`."""
        ...

    def loss(self, network: LaneNetwork, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The client objective: loss per lane `[lanes]`, and the logits `[lanes, n, classes]` it came from.

        Args:
            images: float in [0, 1], shared or per lane (see `LaneNetwork`).
            labels: int64 `[lanes, n]`.
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


class Algorithm(Protocol):
    """The settings of one option of the config group `algorithm`."""

    @property
    def name(self) -> str: ...

    def bind(self, model: Model, problem: Problem) -> Method:
        """Check the settings against the model and the problem (UserError) and return the method."""
        ...
