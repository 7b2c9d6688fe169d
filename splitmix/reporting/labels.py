"""Puts a few letters beside points of curves, and names right of lines, where they cover neither curves nor each other.

adjustText, tried on the same figures, leaves numbers on markers and lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from splitmix.reporting.style import dark

# All lengths are in points.
POINTS = 6.5  # size of the letters beside points
OFFSETS = [
    distance * np.array([np.cos(angle), np.sin(angle)])
    for distance in (7.0, 10.0, 13.0)
    for angle in np.pi / 4 + 2 * np.pi * np.arange(16) / 16
]
"""Of a label's middle from its point, in the order in which they are tried: the near ones first, up to the right."""
SAMPLES = 24  # of each line between two points
MARKER_SAMPLES = 9  # a marker stands at each point of a curve
MARKER = 3.0  # half of a marker
END_POINTS = 7.5  # size of the letters at the end of a line
LINE_HEIGHT = 8.5  # least distance of two names at the ends of lines
GAP = 12.0  # from the end of the axes to the names


@dataclass(frozen=True)
class Label:
    """Letters beside a point, in data coordinates; `others` are points that would do as well."""

    x: float
    y: float
    text: str
    colour: Any
    others: Sequence[tuple[float, float]] = ()
    bold: bool = False


def label_points(figure: Figure, axes: Axes, labels: Sequence[Label], curves: Sequence[NDArray[np.float64]]) -> None:
    """Write the labels; call it when the figure has all its other parts, since it lays it out.

    Each label takes the place around its point that covers the fewest samples of the curves, and no other label.

    Args:
        curves: `[points, 2]` of every curve that should stay visible.
    """
    figure.draw_without_rendering()

    def on_paper(points: Any) -> Any:
        return axes.transData.transform(points) * 72 / figure.dpi

    covered = np.concatenate([samples(on_paper(curve)) for curve in curves if len(curve)])
    taken = np.empty((0, 2, 2))  # middle and half of the size of each label
    for label in labels:
        half = np.array([(0.37 if label.bold else 0.32) * POINTS * len(label.text) + 0.5, 0.52 * POINTS])
        # Wide labels go further to the side.
        offsets = np.array(OFFSETS) * [1 + half[0] / 12, 1]
        anchors = np.array([(label.x, label.y), *label.others])
        middles = on_paper(anchors)[:, None] + offsets
        hidden = (np.abs(middles[..., None, :] - covered) < half + MARKER).all(-1).sum(-1)
        met = (np.abs(middles[..., None, :] - taken[:, 0]) < taken[:, 1] + half).all(-1).sum(-1)
        cost = 4 * hidden + 400 * met + 0.5 * np.hypot(*offsets.T)
        anchor, offset = np.unravel_index(cost.argmin(), cost.shape)
        taken = np.concatenate([taken, [[middles[anchor, offset], half]]])
        axes.annotate(
            label.text,
            tuple(anchors[anchor]),
            xytext=tuple(offsets[offset]),
            textcoords="offset points",
            fontsize=POINTS,
            fontweight="bold" if label.bold else "normal",
            color=dark(label.colour),
            ha="center",
            va="center",
        )


def samples(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points along a curve, its own more often."""
    along = np.linspace(curve[:-1], curve[1:], SAMPLES).reshape(-1, 2)
    return np.concatenate([*([curve] * (MARKER_SAMPLES - 1)), along])


def label_ends(figure: Figure, axes: Axes, ends: Sequence[Label]) -> None:
    """Write names right of the axes, in the order of the last points and apart; a thin line leads to each.

    Call it when the figure has all its other parts, since it lays it out.
    """
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    right = axes.get_window_extent().x1 * scale
    order = sorted(ends, key=lambda end: end.y)
    places = [axes.transData.transform((end.x, end.y)) * scale for end in order]
    heights = spread_apart([float(y) for _, y in places], LINE_HEIGHT)
    for end, (x, y), height in zip(order, places, heights, strict=True):
        axes.annotate(
            end.text,
            (end.x, end.y),
            xytext=(float(right - x) + GAP, height - float(y)),
            textcoords="offset points",
            fontsize=END_POINTS,
            color=dark(end.colour),
            ha="left",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        )


def spread_apart(places: Sequence[float], least: float) -> list[float]:
    """Ascending places moved as little as it takes to lie at least so far apart."""
    from scipy.optimize import isotonic_regression

    steps = least * np.arange(len(places))
    moved: list[float] = (isotonic_regression(places - steps).x + steps).tolist() if len(places) else []
    return moved
