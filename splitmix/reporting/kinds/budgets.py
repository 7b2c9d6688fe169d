"""Budget distributions: how many clients have which budget, and beside it accuracy by width of each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import WIDTH_KEY, grouped
from splitmix.reporting.paper import budget_notes
from splitmix.reporting.report_table import Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import error_lines, legend_above, new_figure, styled
from splitmix.runs.run import Run

AXES = ("budget.widths", "budget.assignment")
ROWS = ["budgets", "method"]


def make(comparison: Comparison) -> Part:
    """The table and the figure."""
    runs = [run for run in comparison.runs if AXES[0] in run.settings]
    groups = grouped(runs, (WIDTH_KEY, *AXES), keep=lambda group: len({distribution(run) for run in group.runs}) > 1)
    if not groups:
        raise CannotShow("needs runs of at least two budget distributions (budget.widths)")
    lines = [line for group in groups for line in group.accuracies(budgets=distribution)]
    cells = over_seeds(lines, [*ROWS, "width"])
    columns = comparison.columns(cells, ROWS)
    notes = list(dict.fromkeys(note for group in groups for note in budget_notes(group)))
    names = [f"{cell.method} with {cell.budgets}" for cell in cells.itertuples()]
    notes += missing_seeds(cells, names, width_names(cells["width"]))
    caption = (
        f"Test SA in % on {comparison.dataset} by budget distribution, method and width, mean ± standard deviation over"
        " seeds."
    )
    rows, numbers = spread(cells, ROWS, "width", columns), cells[[*ROWS, "width", *STATISTICS]]
    table = Table("budgets", caption, [*ROWS, *width_names(columns)], rows, numbers, words=2, notes=notes)
    counts = {distribution(run): Counter(run.budgets) for run in runs}
    text = "Left: clients by budget. Right: test SA by width of each method; bars: standard deviation over seeds."
    figure = distributions(comparison, cells, counts)
    return Part("budgets", "Budget distributions", [table], [Drawing("budgets", text, figure)])


def distribution(run: Run) -> str:
    """What a run's budgets are called: the widths as the user wrote them, and how they were dealt if not in order."""
    widths, assignment = (str(run.settings[key]) for key in AXES)
    return widths if assignment == "blocked" else f"{widths} {assignment}"


@styled
def distributions(comparison: Comparison, cells: pd.DataFrame, counts: Mapping[str, Mapping[float, int]]) -> Figure:
    """One row per distribution."""
    parts = list(cells.groupby("budgets", observed=True))
    figure = new_figure(0.4 + 1.05 * len(parts))
    panels = figure.subplots(len(parts), 2, sharex=True, sharey="col", squeeze=False, width_ratios=[1, 1.5])
    most = max(max(count.values()) for count in counts.values())
    for (left, right), (name, part) in zip(panels, parts, strict=True):
        budgets = sorted(counts[name])
        left.bar(budgets, [counts[name][budget] for budget in budgets], width=0.09, color="#555555")
        left.set(ylim=(0, 1.3 * most), ylabel="clients")
        left.set_title(name, loc="left", pad=3)
        left.grid(axis="x", visible=False)
        error_lines(right, part, "width", comparison.palette)
        right.set(xlim=(0, 1.08), ylabel="SA (%)")
        right.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    panels[-1][0].set_xlabel("budget")
    panels[-1][1].set_xlabel("width")
    # A method may lack a distribution: the panel with the most methods has the whole legend.
    fullest = max(panels[:, 1], key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend_above(figure, fullest)
    return figure
