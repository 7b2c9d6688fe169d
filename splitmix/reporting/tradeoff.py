"""Draws robust accuracy (RA) against standard accuracy (SA): a curve over λ for each method, or for each width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from splitmix.reporting.labels import Label, label_points
from splitmix.reporting.style import Look, Palette, legend_above, new_figure, ordered, save, styled

if TYPE_CHECKING:
    import pandas as pd

NEAR = 0.07
"""Curves whose boxes lie closer than this share of the axes are a crowd: their widths would cover each other."""
SMALL = 0.45
"""A crowd that takes a larger share of the axes than this is magnified too little to be worth a panel."""
MEANS = ["sa_mean", "ra_mean"]


def draw_tradeoffs(records: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw every attack of these test records that has a clean record beside it, where there are several levels.

    Args:
        records: of one checkpoint under one set of test settings, as results.json holds them.

    Returns:
        The files written: `tradeoff_<attack>.png`.

    Raises:
        UserError: a file cannot be written.
    """
    if len({record["adv_lambda"] for record in records}) < 2:
        return []
    import pandas as pd

    frame = pd.DataFrame({**record, "attack": record["attack"]["name"]} for record in records)
    by_attack = frame.pivot_table("accuracy", ["width", "adv_lambda"], "attack", aggfunc="last")
    written = []
    for attack in frame["attack"].unique():
        if attack == "none" or "none" not in by_attack:
            continue
        both = by_attack[["none", attack]].dropna().set_axis(MEANS, axis=1).reset_index()
        if both["width"].duplicated().any():
            folder.mkdir(exist_ok=True)
            written.append(folder / f"tradeoff_{attack}.png")
            save(figure_of_widths(both.assign(sa_bar=0.0, ra_bar=0.0), attack), written[-1])
    return written


@styled
def figure_of_methods(points: pd.DataFrame, attack: str, palette: Palette) -> Figure:
    """One curve per method, with λ beside every point.

    Args:
        points: SA and RA by `method` and `adv_lambda`, as of `attacked.points`.
    """
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    curves = dict(list(points.groupby("method", observed=True)))
    looks = {method: palette[method] for method in curves}
    draw_curves(axes, curves, looks)
    axes.margins(0.1)
    axes.set_ylabel(f"RA under {attack} (%)")
    legend_above(figure, axes)
    labels = [label for method, curve in curves.items() for label in lambda_labels(curve, looks[method])]
    label_points(figure, axes, labels, [percents(curve) for curve in curves.values()])
    return figure


@styled
def figure_of_widths(points: pd.DataFrame, attack: str) -> Figure:
    """One curve per width with its name beside it, and a second panel that magnifies those that crowd together."""
    curves = dict(list(points.groupby("width")))
    looks = dict(zip(curves, ordered(len(curves)), strict=True))
    crowd = crowded(curves)
    within = {width: curves[width] for width in crowd}
    figure = new_figure(4.3 if crowd else 2.3)
    panels = list(figure.subplots(2 if crowd else 1, 1, squeeze=False)[:, 0])
    for axes, drawn in zip(panels, [curves, within], strict=False):
        draw_curves(axes, drawn, looks)
        for width, curve in drawn.items():
            axes.plot(*percents(curve)[0], looks[width].marker, color=looks[width].colour, mfc="white", zorder=5)
        axes.margins(0.14)
        axes.set_ylabel(f"RA under {attack} (%)")
    if crowd:
        panels[0].set_xlabel("")
    longest = max(curves, key=lambda width: float(np.ptp(percents(curves[width]), axis=0).sum()))
    apart = {width: curve for width, curve in curves.items() if width not in crowd}
    for axes, drawn, named in zip(panels, [curves, within], [apart, within], strict=False):
        labels = [width_label(width, curve, looks[width]) for width, curve in named.items()]
        labels += lambda_labels(curves[longest], looks[longest]) if longest in named else []
        outlines = [percents(curve) for curve in drawn.values()]
        if crowd and axes is panels[0]:
            corners = frame(axes, panels[1])
            labels.append(Label(*corners[0], "magnified below", "0.4", others=corners[1:]))
            outlines.append(np.array([*corners, corners[0]]))
        label_points(figure, axes, labels, outlines)
    return figure


def draw_curves(axes: Axes, curves: Mapping[Any, pd.DataFrame], looks: Mapping[Any, Look]) -> None:
    """RA against SA in per cent, joined in the order of λ."""
    for name, curve in curves.items():
        x, y = percents(curve).T
        axes.errorbar(x, y, curve["ra_bar"], curve["sa_bar"], elinewidth=0.5, label=name, **looks[name].keywords())
    axes.set_xlabel("SA (%)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))


def frame(axes: Axes, magnified: Axes) -> list[tuple[float, float]]:
    """Draw a frame around what the other panel shows; its corners in data coordinates."""
    (left, right), (low, high) = magnified.get_xlim(), magnified.get_ylim()
    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, edgecolor="0.4", linewidth=0.7))
    return [(left, low), (left, high), (right, high), (right, low)]


def width_label(width: float, curve: pd.DataFrame, look: Look) -> Label:
    """The name of a curve, beside its last point or where there is more room."""
    last, *others = [(float(x), float(y)) for x, y in percents(curve)[::-1]]
    return Label(*last, f"×{width:g}", look.colour, others=others, bold=True)


def lambda_labels(curve: pd.DataFrame, look: Look) -> list[Label]:
    """The λ of every point."""
    return [
        Label(x, y, f"{adv_lambda:g}", look.colour)
        for (x, y), adv_lambda in zip(percents(curve), curve["adv_lambda"], strict=True)
    ]


def percents(curve: pd.DataFrame) -> Any:
    """`[points, 2]`: SA and RA in per cent."""
    return 100 * curve[MEANS].to_numpy()


def crowded(curves: Mapping[float, pd.DataFrame]) -> list[float]:
    """The widths of the largest crowd, ascending; empty if there is none, or if it fills the figure anyway."""
    from scipy.sparse.csgraph import connected_components

    points = [percents(curve) for curve in curves.values()]
    size = np.maximum(np.ptp(np.concatenate(points), axis=0), 1e-9)
    low, high = (np.array([extreme(curve, axis=0) for curve in points]) for extreme in (np.min, np.max))
    gaps = np.maximum(low[:, None] - high, low - high[:, None]) / size
    _, crowd_of = connected_components((gaps < NEAR).all(2))
    largest = np.flatnonzero(crowd_of == np.bincount(crowd_of).argmax())
    share = np.ptp(np.concatenate([points[number] for number in largest]), axis=0) / size
    return [list(curves)[number] for number in largest] if len(largest) > 1 and (share < SMALL).all() else []
