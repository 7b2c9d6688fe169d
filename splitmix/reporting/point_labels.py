"""Puts a few letters beside points of curves, where they cover neither curves nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from splitmix.reporting.style import dark

POINTS = 6.5  # size of the letters
DISTANCES = (7.0, 10.0, 13.0)  # of a label's middle from its point, in points
DIRECTIONS = 16
SAMPLES = 24  # of each line between two points
MARKER = 3.0  # half of a marker, in points


@dataclass(frozen=True)
class Label:
    """Letters beside a point, in data coordinates; `others` are points that would do as well."""

    x: float
    y: float
    text: str
    colour: Any
    others: Sequence[tuple[float, float]] = ()
    bold: bool = False


def label_points(
    figure: Figure, axes: Axes, labels: Sequence[Label], curves: Sequence[Sequence[Sequence[float]]]
) -> None:
    """Write the labels; call it when the figure has all its other parts, since it lays it out.

    Each label takes the place around its point that covers the fewest samples of the curves, and no other label.

    Args:
        curves: points `[x, y]` of every curve that should stay visible.
    """
    figure.draw_without_rendering()
    scale = 72 / figure.dpi

    def to_points(points: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = axes.transData.transform(np.asarray(points, dtype=float)) * scale
        return found

    obstacles = np.concatenate([samples(to_points(curve)) for curve in curves if len(curve)])
    taken: list[NDArray[np.float64]] = []
    for label in labels:
        half = np.array([(0.37 if label.bold else 0.32) * POINTS * len(label.text) + 0.5, 0.52 * POINTS])
        choices = [(at, place) for at in ((label.x, label.y), *label.others) for place in places(half)]
        costs = [cost(to_points([at])[0] + place, half, obstacles, taken, place) for at, place in choices]
        at, offset = choices[int(np.argmin(costs))]
        taken.append(np.concatenate([to_points([at])[0] + offset, half]))
        axes.annotate(
            label.text,
            at,
            xytext=tuple(offset),
            textcoords="offset points",
            fontsize=POINTS,
            fontweight="bold" if label.bold else "normal",
            color=dark(label.colour),
            ha="center",
            va="center",
        )


def samples(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points along a curve, its own heavily, since a marker stands there."""
    along = [np.linspace(a, b, SAMPLES) for a, b in pairwise(curve)]
    return np.concatenate([*([curve] * 8), *along])


def places(half: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Offsets to try, the upper right first; wide labels go further to the side."""
    angles = np.pi / 4 + 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    stretch = np.array([1 + half[0] / 12, 1.0])
    return [d * stretch * np.array([np.cos(angle), np.sin(angle)]) for d in DISTANCES for angle in angles]


def cost(
    middle: NDArray[np.float64],
    half: NDArray[np.float64],
    obstacles: NDArray[np.float64],
    taken: Sequence[NDArray[np.float64]],
    offset: NDArray[np.float64],
) -> float:
    """Samples covered by a label here, labels met (counted far more), and a little for the distance."""
    covered = (np.abs(obstacles - middle) < half + MARKER).all(1).sum()
    met = sum(bool((np.abs(other[:2] - middle) < other[2:] + half).all()) for other in taken)
    return float(4 * covered + 400 * met + 0.5 * np.hypot(*offset))
