"""The picture of all tested models, RA against SA, larger and darker for more MACs; and where each point lies on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes

from splitmix.explore.measured import Measured, Place, TestedAttack
from splitmix.reporting.labels import Label, label_points
from splitmix.reporting.style import new_figure, ordered, styled

PIXELS_PER_INCH = 200
AREA = 14.0, 90.0
"""Points squared of the smallest and the largest marker."""
LABELLED = 6
"""Widths whose name stands beside them, at most."""


@dataclass(frozen=True)
class Picture:
    """A picture of points.

    Attributes:
        png: the file.
        places: where the point of each width and level lies: shares of the picture's width and height, from the left
            and from the top.
        size: its width and height in pixels.
        caption: what it shows.
    """

    png: bytes
    places: Mapping[Place, tuple[float, float]]
    size: tuple[int, int]
    caption: str


@styled
def draw(measured: Measured, macs: Mapping[float, float], attack: TestedAttack | None) -> Picture | None:
    """The picture of a run: RA against SA, or SA against MACs for one that was tested under no attack.

    Args:
        macs: multiply-accumulates per image by width.

    Returns:
        None for a run that was not tested at all.
    """
    both = measured.points(attack)
    if both:
        points = [(place, 100 * sa, 100 * ra) for place, sa, ra in both]
        names = "SA (%)", f"RA (%) under {attack.settings['name'] if attack else ''}"
        caption = "Every tested model: robust against standard accuracy; larger and darker for more MACs."
        caption += " A line joins the levels λ of a width." if len({level for (_, level), *_ in both}) > 1 else ""
    else:
        points = [(place, macs[place[0]] / 1e6, 100 * measured.clean[place]["accuracy"]) for place in measured.clean]
        points = sorted(point for point in points if point[0][1] == 0)
        names = "million MACs per image", "SA (%)"
        caption = "Every tested model: standard accuracy against MACs. The run was tested under no attack."
    if not points:
        return None
    figure = new_figure(2.9, 3.9)
    figure.set_dpi(PIXELS_PER_INCH)
    axes = figure.add_subplot(xlabel=names[0], ylabel=names[1])
    axes.margins(0.16)
    draw_points(axes, points, macs)
    label_points(figure, axes, labels_of(points), [curve for curve in curves_of(points).values()])
    file = BytesIO()
    figure.savefig(file, format="png", dpi=PIXELS_PER_INCH)
    breadth, height = (round(value) for value in figure.bbox.size)
    on_paper = axes.transData.transform([point[1:] for point in points])
    places = {point[0]: (x / breadth, 1 - y / height) for point, (x, y) in zip(points, on_paper, strict=True)}
    return Picture(file.getvalue(), places, (breadth, height), caption)


def draw_points(axes: Axes, points: Sequence[tuple[Place, float, float]], macs: Mapping[float, float]) -> None:
    """A marker for each point, its area growing with MACs, and a line through the points of a width."""
    most = max(macs.values())
    curves = curves_of(points)
    for (width, curve), look in zip(curves.items(), ordered(len(curves)), strict=True):
        area = AREA[0] + (AREA[1] - AREA[0]) * macs[width] / most
        x, y = curve.T
        axes.plot(x, y, color=look.colour, linewidth=0.8)
        axes.scatter(x, y, s=area, color=look.colour, edgecolor="white", linewidth=0.6, zorder=3)


def curves_of(points: Sequence[tuple[Place, float, float]]) -> dict[float, np.ndarray]:
    """`[levels, 2]` by width."""
    curves: dict[float, list[tuple[float, float]]] = {}
    for (width, _), x, y in points:
        curves.setdefault(width, []).append((x, y))
    return {width: np.array(curve) for width, curve in curves.items()}


def labels_of(points: Sequence[tuple[Place, float, float]]) -> list[Label]:
    """The names of some widths, the extreme ones among them."""
    curves = curves_of(points)
    chosen = np.unique(np.linspace(0, len(curves) - 1, min(LABELLED, len(curves))).round().astype(int))
    widths, looks = list(curves), ordered(len(curves))
    labels = []
    for number in chosen:
        x, y = curves[widths[number]][-1]
        labels.append(Label(float(x), float(y), f"×{widths[number]:g}", looks[number].colour, bold=True))
    return labels
