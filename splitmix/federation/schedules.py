"""Learning-rate schedules over rounds: a factor per round, a plain function of the round's number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from splitmix.binding import shown
from splitmix.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """What schedules share.

    Attributes:
        warmup_rounds: the factor first grows linearly, (t + 1) / warmup_rounds in round t, over so many rounds.
    """

    warmup_rounds: int = 0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if self.warmup_rounds < 0:
            raise UserError(f"schedule.warmup_rounds={self.warmup_rounds}: give 0 or more")

    def factor(self, round_index: int, rounds: int) -> float:
        """What the learning rate is multiplied by in round `round_index` of `rounds` (0-based)."""
        warmup = min(1.0, (round_index + 1) / self.warmup_rounds) if self.warmup_rounds else 1.0
        return warmup * self.shape(round_index, rounds)

    def shape(self, round_index: int, rounds: int) -> float:
        """The factor without warm-up."""
        return 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """Settings of `schedule=none`: the same learning rate in every round."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True)
class Cosine(Schedule):
    """Settings of `schedule=cos`: (1 + cos(pi t / T)) / 2."""

    name: ClassVar[str] = "cos"

    def shape(self, round_index: int, rounds: int) -> float:
        return (1 + math.cos(math.pi * round_index / rounds)) / 2


@dataclass(frozen=True)
class Exponential(Schedule):
    """Settings of `schedule=exponential`: times `decay` in every round.

    Attributes:
        decay: above 0 and up to 1.
    """

    name: ClassVar[str] = "exponential"

    decay: float = 0.998

    def check(self) -> None:
        super().check()
        if not 0 < self.decay <= 1:
            raise UserError(f"schedule.decay={shown(self.decay)}: give a factor above 0 and up to 1")

    def shape(self, round_index: int, rounds: int) -> float:
        return self.decay**round_index


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Settings of `schedule=multi_step`: times `gamma` at each milestone.

    Attributes:
        milestones: rounds, ascending.
        gamma: above 0 and up to 10.
    """

    name: ClassVar[str] = "multi_step"

    milestones: tuple[int, ...] = (150, 250)
    gamma: float = 0.1

    def check(self) -> None:
        super().check()
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            raise UserError(f"schedule.milestones={shown(self.milestones)}: give ascending rounds of at least 1")
        if not 0 < self.gamma <= 10:
            raise UserError(f"schedule.gamma={shown(self.gamma)}: give a factor above 0 and up to 10")

    def shape(self, round_index: int, rounds: int) -> float:
        return self.gamma ** sum(round_index >= milestone for milestone in self.milestones)
