"""Validation accuracy against rounds: a line per method, and per width where there is a single method."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.figures import draw_curve
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.labels import label_ends
from splitmix.reporting.report_table import Table, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import Look, legend_above, new_figure, ordered, spaced, styled


def make(comparison: Comparison) -> Part:
    """The figures, and a table of where the curves end."""
    groups = [group for group in grouped(comparison.runs, apart=()) if widths_of(group)]
    if not groups:
        raise CannotShow("no run has validation accuracies in its metrics.csv")
    drawn, note = shown(groups)
    widths = {group.label: width_of(comparison, group) for group in groups}
    names = {group.label: curve_name(group, widths[group.label], max(widths.values())) for group in groups}
    curves = curves_of({names[group.label]: (group, widths[group.label]) for group in groups})
    caption = (
        f"Validation SA on {comparison.dataset} against rounds, each method at its largest validated width"
        f"{'' if comparison.width is None else f' (×{comparison.width:g} where it was validated)'}; line and band: mean"
        f" and standard deviation over seeds.{note}"
    )
    # The first curve of an algorithm looks as the algorithm does in the other figures.
    first = {group.algorithm: group for group in drawn[::-1]}
    looks = {
        names[group.label]: comparison.palette[group.algorithm if first[group.algorithm] is group else group.label]
        for group in drawn
    }
    drawings = [Drawing("convergence", caption, curves_figure(curves, looks))]
    if len(groups) == 1 and len(widths_of(groups[0])) > 1:
        every = widths_of(groups[0])
        by_width = curves_of({f"×{width:g}": (groups[0], width) for width in every})
        some = width_names(spaced(every))
        caption = f"Validation SA of {groups[0].label} on {comparison.dataset} against rounds by width, as above."
        caption += " Four of its widths; the table has them all." if len(some) < len(every) else ""
        figure = curves_figure(by_width, dict(zip(some, ordered(len(some)), strict=True)), at_ends=True)
        drawings.append(Drawing("convergence_widths", caption, figure))
        curves = pd.concat([curves, by_width], ignore_index=True)
    return Part("convergence", "Convergence", [ends(curves)], drawings)


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


def curves_of(shown_as: Mapping[str, tuple[Group, float]]) -> pd.DataFrame:
    """Validation SA by curve (each a group at a width) and round, at the rounds that every seed validated."""
    lines = [
        {"curve": name, "seed": run.seed, "round": number, "sa": accuracy}
        for name, (group, width) in shown_as.items()
        for run in group.runs
        for number, accuracy in run.curve(f"val_sa/{width}").items()
    ]
    cells = over_seeds(lines, ["curve", "round"])
    seeds = {name: len({run.seed for run in group.runs}) for name, (group, _) in shown_as.items()}
    whole = [len(cell.seeds.split()) == seeds[cell.curve] for cell in cells.itertuples()]
    return cells[whole].astype({"curve": str})


def ends(curves: pd.DataFrame) -> Table:
    """The best and the last accuracy of every curve; the curves themselves in the CSV file."""
    by_curve = curves.groupby("curve", sort=False)
    last = curves.loc[by_curve["round"].idxmax()]
    best = curves.loc[by_curve["mean"].idxmax()]
    rows = [
        [top.curve, str(top.round), top.text, str(end.round), end.text]
        for top, end in zip(best.itertuples(), last.itertuples(), strict=True)
    ]
    caption = "Validation SA in %, mean ± standard deviation over seeds: best round of the mean curve, and last round."
    header = ["method", "best round", "SA there", "last round", "SA there"]
    notes = missing_seeds(last, last["curve"], [""] * len(last))
    return Table("convergence", caption, header, rows, curves[["curve", "round", *STATISTICS]], notes=notes)


@styled
def curves_figure(curves: pd.DataFrame, looks: Mapping[str, Look], at_ends: bool = False) -> Figure:
    """Mean lines with bands of one deviation; names in a legend, or short ones at the ends of the lines."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    names = []
    for label, look in looks.items():
        curve = curves[curves["curve"] == label]
        rounds, percents, bars = curve["round"].to_numpy(), 100 * curve["mean"].to_numpy(), curve["bar"].to_numpy()
        names.append(draw_curve(axes, label, rounds, percents, look))
        if bars.any():
            axes.fill_between(rounds, percents - bars, percents + bars, color=look.colour, alpha=0.15, linewidth=0)
    if at_ends:
        label_ends(figure, axes, names)
    else:
        legend_above(figure, axes)
    return figure
