"""What a round of a federation measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoundMetrics:
    """What a round measured.

    Attributes:
        round: 0-based number of the round.
        lr: learning rate of the round.
        loss, accuracy: training mean over the participants, each over its samples and lanes.
        bytes_down, bytes_up: training payload of the round, all participants together.
        seconds: by phase: `data` (drawing and gathering batches), `train`, `merge`. Workers overlap the first two and
            are counted as if each phase were spread evenly over them.
    """

    round: int
    lr: float
    loss: float
    accuracy: float
    bytes_down: int
    bytes_up: int
    seconds: dict[str, float]
