"""What a fitted federation leaves: its rounds, their validation accuracies, the last state and the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from splitmix.algorithms.values import ServerState
from splitmix.evaluation.accuracy import Accuracy
from splitmix.federation.round_metrics import RoundMetrics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FitRound:
    """One round of a fit, as callbacks are given it.

    Attributes:
        state: the server after the round.
        metrics: what the round measured.
        validation: SA of the validated clients; None in rounds that were not validated.
    """

    state: ServerState
    metrics: RoundMetrics
    validation: Accuracy | None = None

    @property
    def accuracy(self) -> float | None:
        """Validation SA at the largest width."""
        return None if self.validation is None else max(self.validation.mean().items())[1]


@dataclass(frozen=True)
class History:
    """All rounds of a fit so far, in order.

    Attributes:
        total: number of rounds of the federation's schedule.
        rounds: the rounds; only their numbers are kept, not their states.
        state: the server after the last round.
        best: the server after the round with the highest validation SA at the largest width; `state` without any.
        best_round: 0-based number of that round; None without any.
    """

    total: int
    rounds: tuple[tuple[RoundMetrics, Accuracy | None], ...]
    state: ServerState
    best: ServerState
    best_round: int | None = None
    best_accuracy: float = -1.0

    def __len__(self) -> int:
        return len(self.rounds)

    def __repr__(self) -> str:
        best = "" if self.best_round is None else f", best {100 * self.best_accuracy:.1f} % after {self.best_round + 1}"
        return f"History({self.state.round} of {self.total} rounds{best})"

    def after(self, last: FitRound) -> History:
        """The history with one more round."""
        best, number, highest = self.best, self.best_round, self.best_accuracy
        if last.accuracy is not None and last.accuracy > highest:
            best, number, highest = last.state, last.metrics.round, last.accuracy
        elif number is None:
            best = last.state
        rounds = (*self.rounds, (last.metrics, last.validation))
        return History(self.total, rounds, last.state, best, number, highest)

    def to_frame(self) -> pd.DataFrame:
        """A row per round, counted from 0, with the columns of a run's metrics.csv.

        They are `train_loss`, `train_accuracy`, `lr`, `bytes_down`, `bytes_up`, `seconds/<phase>`, and for every
        validated width `val_sa/<width>`; accuracies in [0, 1].
        """
        import pandas as pd

        rows = []
        for metrics, validation in self.rounds:
            row = {"round": metrics.round, **metrics.columns(metrics.seconds)}
            row |= {f"val_sa/{width}": value for width, value in (validation.mean() if validation else {}).items()}
            rows.append(row)
        return pd.DataFrame(rows, columns=None if rows else ["round"]).set_index("round")
