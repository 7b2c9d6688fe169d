"""The figure of joint customisation: RA against SA, a curve over λ for each width, with its width beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from splitmix.reporting.point_labels import Label, label_points
from splitmix.reporting.robust import Point, draw_curves
from splitmix.reporting.style import Look, new_figure, ordered, styled

NEAR = 0.07
"""Curves whose boxes lie closer than this share of the axes are a crowd: their widths would cover each other."""
SMALL = 0.45
"""A crowd that takes a larger share of the axes than this is magnified too little to be worth a panel."""

Curves = Mapping[float, Sequence[Point]]


@styled
def figure_of(curves: Curves, attack: str) -> Figure:
    """One curve per width, and a second panel that magnifies those that crowd together."""
    looks = dict(zip(sorted(curves), ordered(len(curves)), strict=True))
    crowd = crowded(curves)
    figure = new_figure(4.3 if crowd else 2.3)
    within = {width: curves[width] for width in crowd}
    apart = {width: curve for width, curve in curves.items() if width not in crowd}
    panels = list(figure.subplots(2 if crowd else 1, 1, squeeze=False)[:, 0])
    for axes, shown in zip(panels, [curves, within], strict=False):
        by_label = {f"×{width:g}": curve for width, curve in shown.items()}
        draw_curves(axes, by_label, [looks[width] for width in shown])
        for width, curve in shown.items():
            first = curve[0]
            axes.plot(
                100 * first.sa.mean, 100 * first.ra.mean, looks[width].marker, color=looks[width].colour, mfc="white",
                zorder=5,
            )  # fmt: skip
        axes.margins(0.14)
        axes.set_ylabel(f"RA under {attack} (%)")
    longest = max(curves, key=lambda width: float(np.ptp(places(curves[width]), axis=0).sum()))
    if crowd:
        panels[0].set_xlabel("")
    for axes, drawn, named in zip(panels, [curves, within], [apart, within], strict=False):
        labels = width_labels(named, looks) + (
            lambda_labels(curves[longest], looks[longest]) if longest in named else []
        )
        outlines = [places(curve).tolist() for curve in drawn.values()]
        if crowd and axes is panels[0]:
            corners = frame(axes, panels[1])
            labels.append(Label(*corners[0], "magnified below", "0.4", others=corners[1:]))
            outlines.append([*corners, corners[0]])
        label_points(figure, axes, labels, outlines)
    return figure


def frame(axes: Axes, magnified: Axes) -> list[tuple[float, float]]:
    """Draw a frame around what the other panel shows; its corners in data coordinates."""
    (left, right), (low, high) = magnified.get_xlim(), magnified.get_ylim()
    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, edgecolor="0.4", linewidth=0.7))
    return [(left, low), (left, high), (right, high), (right, low)]


def width_labels(curves: Curves, looks: Mapping[float, Look]) -> list[Label]:
    """The width of every curve, beside its last point or where there is more room."""
    ends = {width: [(float(x), float(y)) for x, y in places(curve)[::-1]] for width, curve in curves.items()}
    return [
        Label(*points[0], f"×{width:g}", looks[width].colour, others=points[1:], bold=True)
        for width, points in ends.items()
    ]


def lambda_labels(curve: Sequence[Point], look: Look) -> list[Label]:
    """The λ of every point."""
    return [Label(100 * point.sa.mean, 100 * point.ra.mean, f"{point.adv_lambda:g}", look.colour) for point in curve]


def places(curve: Sequence[Point]) -> NDArray[np.float64]:
    """`[points, 2]`: SA and RA in per cent."""
    return np.array([(100 * point.sa.mean, 100 * point.ra.mean) for point in curve])


def crowded(curves: Curves) -> list[float]:
    """The widths of the largest crowd, ascending; empty if there is none, or if it fills the figure anyway."""
    every = np.concatenate([places(curve) for curve in curves.values()])
    size = np.maximum(np.ptp(every, axis=0), 1e-9)
    boxes = {width: (places(curve).min(0), places(curve).max(0)) for width, curve in curves.items()}
    crowds: list[set[float]] = [{width} for width in curves]
    for one, two in combinations(curves, 2):
        gaps = np.maximum(boxes[one][0] - boxes[two][1], boxes[two][0] - boxes[one][1]) / size
        first, second = (next(crowd for crowd in crowds if width in crowd) for width in (one, two))
        if first is not second and (gaps < NEAR).all():
            crowds.remove(second)
            first |= second
    sizes = [len(crowd) for crowd in crowds]
    largest = sorted(crowds[sizes.index(max(sizes))])
    inside = np.concatenate([places(curves[width]) for width in largest])
    share = np.ptp(inside, axis=0) / size
    return largest if len(largest) > 1 and (share < SMALL).all() else []
