"""Puts the name of each line at its right end, where a legend would have to be looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from splitmix.reporting.style import dark

POINTS = 7.5  # size of the letters
LINE_HEIGHT = 8.5  # least distance of two labels, in points
GAP = 12.0  # from the end of the axes to the labels, in points


@dataclass(frozen=True)
class LineEnd:
    """The last point of a line, in data coordinates, with its name and colour."""

    x: float
    y: float
    text: str
    colour: Any


def label_ends(figure: Figure, axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Write the names right of the axes, in the order of the ends and apart; a thin line leads to each.

    Call it when the figure has all its other parts, since it lays it out.
    """
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    right = axes.get_window_extent().x1 * scale
    order = sorted(ends, key=lambda end: end.y)
    places = [axes.transData.transform((end.x, end.y)) * scale for end in order]
    heights = spread_apart([float(place[1]) for place in places], LINE_HEIGHT)
    for end, place, height in zip(order, places, heights, strict=True):
        axes.annotate(
            end.text,
            (end.x, end.y),
            xytext=(float(right - place[0]) + GAP, height - float(place[1])),
            textcoords="offset points",
            fontsize=POINTS,
            color=dark(end.colour),
            ha="left",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        )


def spread_apart(places: Sequence[float], least: float) -> list[float]:
    """Ascending places moved as little as it takes to lie at least so far apart: crowds keep their middle."""
    crowds: list[tuple[float, int]] = []  # middle and number
    for place in places:
        middle, count = place, 1
        while crowds and middle - crowds[-1][0] < least * (count + crowds[-1][1]) / 2:
            other, more = crowds.pop()
            middle, count = (middle * count + other * more) / (count + more), count + more
        crowds.append((middle, count))
    return [middle + (index - (count - 1) / 2) * least for middle, count in crowds for index in range(count)]
