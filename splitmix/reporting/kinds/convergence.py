"""Validation accuracy against rounds: a line per method, and per width where there is a single method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from splitmix.reporting.cells import Cell, missing_seeds
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.line_labels import LineEnd, label_ends
from splitmix.reporting.style import Look, legend_above, new_figure, ordered, spaced, styled
from splitmix.reporting.table import Table

Curve = dict[int, Cell]


def make(comparison: Comparison) -> Part:
    """The figures, and a table of where the curves end."""
    groups = [group for group in grouped(comparison.runs, apart=()) if widths_of(group)]
    if not groups:
        raise CannotShow("no run has validation accuracies in its metrics.csv")
    drawn, note = shown(groups)
    widths = {group.label: width_of(comparison, group) for group in groups}
    names = {group.label: curve_name(group, widths[group.label], max(widths.values())) for group in groups}
    curves = {names[group.label]: curve_of(group, widths[group.label]) for group in groups}
    caption = (
        f"Validation SA on {comparison.dataset} against rounds, each method at its largest validated width"
        f"{'' if comparison.width is None else f' (×{comparison.width:g} where it was validated)'}; line and band: mean"
        f" and standard deviation over seeds.{note}"
    )
    # The first curve of an algorithm looks as the algorithm does in the other figures.
    first = {group.algorithm: group for group in drawn[::-1]}
    looks = [comparison.palette[group.algorithm if first[group.algorithm] is group else group.label] for group in drawn]
    figure = curves_figure({names[group.label]: curves[names[group.label]] for group in drawn}, looks)
    drawings = [Drawing("convergence", caption, figure)]
    by_width: dict[str, Curve] = {}
    if len(groups) == 1 and len(widths_of(groups[0])) > 1:
        by_width = {f"×{width:g}": curve_of(groups[0], width) for width in widths_of(groups[0])}
        few = [f"×{width:g}" for width in spaced(widths_of(groups[0]))]
        caption = f"Validation SA of {groups[0].label} on {comparison.dataset} against rounds by width, as above."
        caption += " Four of its widths; the table has them all." if len(few) < len(by_width) else ""
        figure = curves_figure({name: by_width[name] for name in few}, ordered(len(few)), at_ends=True)
        drawings.append(Drawing("convergence_widths", caption, figure))
    return Part("convergence", "Convergence", [ends({**curves, **by_width})], drawings)


def curve_name(group: Group, width: float, full: float) -> str:
    """The method, and its width where that is not the full one and not said yet."""
    return group.label if width == full or "(×" in group.label else f"{group.label} (×{width:g})"


def widths_of(group: Group) -> list[float]:
    """The widths that every run of the group validated."""
    return sorted(set.intersection(*(set(run.validated_widths()) for run in group.runs)))


def width_of(comparison: Comparison, group: Group) -> float:
    """The asked width if the group validated it, else its largest."""
    widths = widths_of(group)
    return comparison.width if comparison.width in widths else widths[-1]


def curve_of(group: Group, width: float) -> Curve:
    """Validation SA by round, at the rounds that every seed validated."""
    by_seed = {run.seed: run.curve(f"val_sa/{width}") for run in group.runs}
    rounds = set.intersection(*(set(curve) for curve in by_seed.values()))
    return {number: Cell({seed: curve[number] for seed, curve in by_seed.items()}) for number in sorted(rounds)}


def ends(curves: dict[str, Curve]) -> Table:
    """The best and the last accuracy of every curve; the curves themselves in the CSV file."""
    rows, last_cells = [], []
    records: list[dict[str, Any]] = []
    for label, curve in curves.items():
        best = max(curve, key=lambda number: curve[number].mean)
        last = max(curve)
        rows.append([label, str(best), str(curve[best]), str(last), str(curve[last])])
        last_cells.append((label, "", curve[last]))
        records += [{"curve": label, "round": number, **cell.record()} for number, cell in curve.items()]
    caption = "Validation SA in %, mean ± standard deviation over seeds: best round of the mean curve, and last round."
    header = ["method", "best round", "SA there", "last round", "SA there"]
    return Table("convergence", caption, header, rows, records, notes=missing_seeds(last_cells))


@styled
def curves_figure(curves: dict[str, Curve], looks: Sequence[Look], at_ends: bool = False) -> Figure:
    """Mean lines with bands of one deviation; names in a legend, or short ones at the ends of the lines."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    for (label, curve), look in zip(curves.items(), looks, strict=True):
        plot_curve(axes, label, curve, look)
    axes.set_xlabel("round")
    axes.set_ylabel("validation SA (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if at_ends:
        last = {label: max(curve) for label, curve in curves.items()}
        label_ends(
            figure,
            axes,
            [
                LineEnd(last[label], 100 * curve[last[label]].mean, label, look.colour)
                for (label, curve), look in zip(curves.items(), looks, strict=True)
            ],
        )
    else:
        legend_above(figure, axes)
    return figure


def plot_curve(axes: Axes, label: str, curve: Curve, look: Look) -> None:
    """One line; few markers, so that a long run stays readable."""
    rounds = list(curve)
    means = [100 * cell.mean for cell in curve.values()]
    bars = [cell.bar for cell in curve.values()]
    axes.plot(rounds, means, label=label, markevery=max(1, len(rounds) // 8), **look.keywords())
    if any(bars):
        low, high = ([m + sign * bar for m, bar in zip(means, bars, strict=True)] for sign in (-1, 1))
        axes.fill_between(rounds, low, high, color=look.colour, alpha=0.15, linewidth=0)
