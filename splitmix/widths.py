"""Widths as numbers that can be compared: 3 x 0.1, which is 0.30000000000000004 to a computer, is the width 0.3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TOLERANCE = 1e-6
"""What two numbers that mean one width may differ by: a third may be written as 0.333333."""
ROUNDING = 1e-15
"""What arithmetic on widths, which are at most 1, may be off by."""


def normalized(width: float, known: Iterable[float] = ()) -> float:
    """The known width that this one means, else the width itself without the rounding error of arithmetic.

    Args:
        known: widths as a run names them.
    """
    nearest = min(known, key=lambda other: abs(other - width), default=None)
    if nearest is not None and abs(nearest - width) <= TOLERANCE:
        return nearest
    short = round(width, 12)
    return short if abs(short - width) <= ROUNDING else width


def distinct(widths: Iterable[float], known: Sequence[float] = ()) -> tuple[float, ...]:
    """These widths, normalized, each once, in order."""
    return tuple(dict.fromkeys(normalized(width, known) for width in widths))


def whole_parts(width: float, part: float) -> int:
    """How many whole times a part fits into a width, METHOD's `int(width / atom_width)`.

    0.3 holds 0.1 three times, though 0.3 / 0.1 is 2.9999999999999996 to a computer.
    """
    return int(width / part + TOLERANCE)
