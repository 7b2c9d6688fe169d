"""The server's side of a round: who takes part, and from the updates that come in to the next server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, ServerState
from splitmix.engine.finishing import Trained
from splitmix.federation.sampling import participants
from splitmix.privacy.accounting import Guarantee


class Merge:
    """Takes what clients send, one after another, and ends with the next server.

    Args:
        method: what merges.
        state: what the clients were sent.
    """

    def __init__(self, method: Method, state: ServerState):
        self.method, self.state = method, state
        self.aggregate = method.no_updates(state)

    def add(self, trained: Trained) -> None:
        """Take lanes of a client; their tensors are not kept."""
        self.aggregate = trained.into(self.aggregate, self.method)

    def finished(self) -> ServerState:
        """The server after the round, with the clients' memory as it was."""
        return self.method.finalise(self.state, self.aggregate)


@dataclass(frozen=True)
class Merging:
    """How a federation goes from one server to the next, with `privacy=none`.

    Attributes:
        clients: of the federation.
        per_round: participants per round; None means all.
        seed: of the federation.
    """

    takes_sums: ClassVar[bool] = True
    """Whether what updates add up to can take their place; otherwise each of them is needed."""

    clients: int
    per_round: int | None
    seed: int

    def participants(self, round_index: int) -> list[int]:
        """Clients of a round, ascending."""
        return participants(self.seed, round_index, self.clients, self.per_round)

    def planned_for(self, participants: Sequence[int]) -> Sequence[int]:
        """The clients for which the round is planned: those that take part."""
        return participants

    def begin(self, method: Method, state: ServerState, planned: Sequence[ClientTask]) -> Merge:
        """The merge of a round in which this was planned."""
        return Merge(method, state)

    def guarantee(self, rounds: int) -> Guarantee | None:
        """What the clients are promised after so many rounds: nothing."""
        return None
