"""Accuracy against the number of clients that take part in a round, by method."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import WIDTH_KEY, grouped
from splitmix.reporting.report_table import Table, spread
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import error_lines, legend_above, new_figure, styled
from splitmix.runs.run import Run

AXIS = "clients_per_round"


def make(comparison: Comparison) -> Part:
    """The table and the figure."""
    groups = grouped(
        comparison.runs, (WIDTH_KEY, AXIS), keep=lambda group: len({participants(run) for run in group.runs}) > 1
    )
    if not groups:
        raise CannotShow(f"needs runs with at least two values of {AXIS}")
    counts = sorted({participants(run) for group in groups for run in group.runs})
    lines = [line for group in groups for line in group.accuracies(**{AXIS: participants})]
    cells = over_seeds(lines, ["method", "width", AXIS])
    width = comparison.one_width(part for _, part in cells.groupby("method", observed=True)["width"])
    cells = cells[cells["width"] == width]
    notes = missing_seeds(cells, cells["method"], (f"{count} clients" for count in cells[AXIS]))
    caption = (
        f"Test SA in % on {comparison.dataset} at ×{width:g} by clients per round, mean ± standard deviation over"
        " seeds."
    )
    numbers = cells[["method", "width", AXIS, *STATISTICS]]
    rows = spread(cells, ["method"], AXIS, counts)
    table = Table("participation", caption, ["method", *map(str, counts)], rows, numbers, notes=notes)
    text = f"Test SA at ×{width:g} against clients per round; bars: standard deviation over seeds."
    drawing = Drawing("participation", text, figure_of(comparison, cells, counts))
    return Part("participation", "Clients per round", [table], [drawing])


def participants(run: Run) -> int:
    """Clients per round; all of them where the config says null."""
    asked = run.settings[AXIS]
    return len(run.results["clients"]) if asked is None else int(asked)


@styled
def figure_of(comparison: Comparison, cells: pd.DataFrame, counts: Sequence[int]) -> Figure:
    """One line per method."""
    figure = new_figure(1.9)
    axes = figure.add_subplot()
    error_lines(axes, cells, AXIS, comparison.palette)
    axes.set_xscale("log")
    axes.set_xticks(counts, list(map(str, counts)))
    axes.minorticks_off()
    axes.set(xlabel="clients per round", ylabel="test SA (%)")
    legend_above(figure, axes)
    return figure
