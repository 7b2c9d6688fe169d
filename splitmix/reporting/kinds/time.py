"""Validation accuracy against wall-clock time on a simulated fleet: a line per method, at its widest and narrowest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.kinds.convergence import widths_of
from splitmix.reporting.report_table import Table
from splitmix.reporting.seeds import STATISTICS, over_seeds
from splitmix.reporting.style import Look, Palette, legend_above, new_figure, styled
from splitmix.runs.run import Run

COLUMN = "simulated_s"
"""Of metrics.csv: seconds of a round on the fleet's devices."""


def make(comparison: Comparison) -> Part:
    """A figure, and a table of how soon each curve is where all of them arrive."""
    timed = [run for run in comparison.runs if any(COLUMN in row for row in run.metrics)]
    groups = [group for group in grouped(timed, apart=()) if widths_of(group)]
    if not groups:
        raise CannotShow("needs runs that simulate a fleet of known speeds, by splitmix train fleet=fleet.yaml")
    drawn, note = shown(groups)
    chosen = {group.label: shown_widths(comparison, group) for group in groups}
    curves = over_time([line for group in groups for line in lines_of(group, chosen[group.label])])
    fleets = {str(run.settings.get("budget.fleet")) for run in timed}
    notes = [] if len(fleets) == 1 else [f"the runs are on several fleets: {'; '.join(sorted(fleets))}"]
    if len(timed) < len(comparison.runs):
        notes.append(f"{len(comparison.runs) - len(timed)} runs without a fleet of known speeds are left out")
    caption = (
        f"Validation SA on {comparison.dataset} against the seconds that the rounds take on the fleet's devices"
        f" (training alone: neither sending nor validation), mean over seeds.{note}"
    )
    looks = looks_of(comparison.palette, drawn, chosen)
    table = arrival_table(curves, notes)
    return Part("time", "Accuracy against time", [table], [Drawing("time", caption, time_figure(curves, looks))])


def shown_widths(comparison: Comparison, group: Group) -> list[float]:
    """The narrowest and the widest that it validated, or the asked one if it did."""
    widths = widths_of(group)
    if comparison.width in widths:
        return [comparison.width]
    return sorted({widths[0], widths[-1]})


def curve_name(group: Group, width: float) -> str:
    """The method and its width."""
    return group.label if f"(×{width:g}" in group.label else f"{group.label} ×{width:g}"


def lines_of(group: Group, widths: list[float]) -> list[dict[str, Any]]:
    """By curve, seed and round: seconds since the start, and SA."""
    return [
        {"curve": curve_name(group, width), "round": number, "seed": run.seed, "seconds": seconds[number], "sa": sa}
        for run in group.runs
        for seconds in [elapsed(run)]
        for width in widths
        for number, sa in run.curve(f"val_sa/{width}").items()
        if number in seconds
    ]


def elapsed(run: Run) -> dict[int, float]:
    """Seconds from the start to the end of each round, counted from 1; of rounds before which none is missing."""
    rounds = run.curve(COLUMN)
    whole = [number for number in sorted(rounds) if number <= len(rounds)]
    return dict(zip(whole, accumulate(rounds[number] for number in whole), strict=True))


def over_time(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Means over seeds of seconds and SA by curve and round, at rounds that every seed of the curve has."""
    cells = over_seeds(lines, ["curve", "round"])
    seconds = pd.DataFrame(lines).groupby(["curve", "round"])["seconds"].mean()
    cells["seconds"] = [seconds[cell.curve, cell.round] for cell in cells.itertuples()]
    cells["count"] = cells["seeds"].str.split().str.len()
    most = cells.groupby("curve", observed=True)["count"].transform("max")
    return cells[cells["count"] == most].astype({"curve": str})


def arrival_table(curves: pd.DataFrame, notes: list[str]) -> Table:
    """Of each curve: the whole time, its best SA, and how soon it has the SA that all curves reach."""
    common = min(curve["mean"].max() for _, curve in curves.groupby("curve"))
    rows = []
    for name, curve in curves.groupby("curve", sort=False):
        reached = curve[curve["mean"] >= common].iloc[0]
        best = curve.loc[curve["mean"].idxmax()]
        last = curve.iloc[-1]
        took, best_after, common_after = (f"{row['seconds']:.3g}" for row in (last, best, reached))
        rows.append([str(name), str(last["round"]), took, best["text"], best_after, common_after])
    caption = (
        "Time on the fleet's devices, in simulated seconds of training: of all rounds; until the best validation SA"
        f" (in %); and until the SA that every line reaches, {100 * common:.1f} %."
    )
    header = ["method", "rounds", "s in all", "best SA", "after s", "common SA after s"]
    return Table("time", caption, header, rows, curves[["curve", "round", "seconds", *STATISTICS]], notes=notes)


def looks_of(palette: Palette, groups: list[Group], chosen: Mapping[str, list[float]]) -> dict[str, Look]:
    """By curve: the colour of its method; the narrower of two is drawn dotted."""
    looks = {}
    for group in groups:
        look, widths = palette[group.label], chosen[group.label]
        for width in widths[::-1]:
            narrow = width != widths[-1]
            looks[curve_name(group, width)] = Look(look.colour, look.marker, (0, (1, 1)) if narrow else "-")
    return looks


@styled
def time_figure(curves: pd.DataFrame, looks: Mapping[str, Look]) -> Figure:
    """SA in per cent against seconds."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    for name, look in looks.items():
        curve = curves[curves["curve"] == name]
        every = max(1, len(curve) // 8)
        axes.plot(curve["seconds"], 100 * curve["mean"], label=name, markevery=every, **look.keywords())
        if curve["bar"].any():
            low, high = 100 * curve["mean"] - curve["bar"], 100 * curve["mean"] + curve["bar"]
            axes.fill_between(curve["seconds"], low, high, color=look.colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="seconds of training on the fleet", ylabel="validation SA (%)")
    axes.set_xlim(left=0)
    legend_above(figure, axes)
    return figure
