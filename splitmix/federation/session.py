"""What one does with a federation at a desk: fit all its rounds, look at it, close it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.data.clients import ClientData
from splitmix.data.dataset import Dataset
from splitmix.engine.engine import Engine
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.federation.history import FitRound, History
from splitmix.federation.round_metrics import RoundMetrics

Callback = Callable[[FitRound, History], object]
"""Called after every round with the round and the history up to it; training ends when it returns True."""


class Sessions(Protocol):
    """A federation, as far as it is used here."""

    rounds: int
    seed: int
    dataset: Dataset
    method: Method
    clients: Sequence[ClientData]
    engine: Engine

    def initial_state(self) -> ServerState: ...

    def run_round(self, state: ServerState) -> tuple[ServerState, RoundMetrics]: ...

    def validate(self, state: ServerState, widths: Sequence[float]) -> Accuracy: ...


Some = TypeVar("Some", bound=Sessions)


class Session:
    """Base class of `Federation`: whole trainings, closing, `with`, and a readable `repr`."""

    def fit(
        self: Sessions,
        state: ServerState | None = None,
        *,
        widths: Sequence[float] | None = None,
        validate_every: int = 1,
        callbacks: Sequence[Callback] = (),
    ) -> History:
        """Run all rounds that are left of the schedule, and validate.

        Args:
            state: where to go on; None begins anew.
            widths: widths to validate; None are all that the method can give, an empty list none.
            validate_every: validate every so many rounds, and after the last one.
            callbacks: each is called after every round with a `FitRound` and the `History` up to it. If one of them
                returns True, the training ends there.

        Raises:
            UserError: `validate_every` below 1, a width that the method cannot give, a loss that is not a number.
        """
        if validate_every < 1:
            raise UserError(f"validate_every={validate_every}: give at least 1")
        asked = self.method.widths if widths is None else tuple(widths)
        for width in asked:
            self.method.network(width)
        state = self.initial_state() if state is None else state
        history = History(self.rounds, (), state, state)
        ended = False
        while state.round < self.rounds and not ended:
            state, metrics = self.run_round(state)
            due = bool(asked) and (state.round % validate_every == 0 or state.round == self.rounds)
            last = FitRound(state, metrics, self.validate(state, asked) if due else None)
            history = history.after(last)
            answers = [callback(last, history) for callback in callbacks]
            ended = any(answer is True for answer in answers)
        return history

    def close(self: Sessions) -> None:
        """End the worker processes. The federation stays usable: its next round starts new ones."""
        self.engine.close()

    def __enter__(self: Some) -> Some:
        return self

    def __exit__(self: Sessions, *exception: Any) -> None:
        self.engine.close()

    def __repr__(self: Sessions) -> str:
        domains = len(self.dataset.domains)
        who = f"{len(self.clients)} clients of {domains} domain{'s' * (domains > 1)}"
        what = f"{self.dataset.name}, {who}, algorithm {self.method.name}, model {self.method.model.name}"
        return f"Federation({what}, {self.rounds} rounds, seed {self.seed})"
