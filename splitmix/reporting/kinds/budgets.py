"""Budget distributions: how many clients have which budget, and beside it accuracy by width of each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from splitmix.reporting.cells import Cell, cell_text, missing_seeds
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import WIDTH_KEY, grouped
from splitmix.reporting.kinds.table1 import shown_widths
from splitmix.reporting.paper import budget_notes
from splitmix.reporting.runs import Run
from splitmix.reporting.style import legend_above, new_figure, styled
from splitmix.reporting.table import Table

AXES = ("budget.widths", "budget.assignment")
ByMethod = dict[str, dict[float, Cell]]


def make(comparison: Comparison) -> Part:
    """The table and the figure."""
    runs = [run for run in comparison.runs if AXES[0] in run.settings]
    found: dict[str, ByMethod] = {}
    notes: list[str] = []
    for group in grouped(runs, (WIDTH_KEY, *AXES), keep=lambda group: len(group.split(distribution)) > 1):
        notes += [note for note in budget_notes(group) if note not in notes]
        for name, part in group.split(distribution).items():
            found.setdefault(name, {})[group.label] = part.accuracies()
    if len(found) < 2:
        raise CannotShow("needs runs of at least two budget distributions (budget.widths)")
    every = {f"{name} {label}": cells for name, methods in found.items() for label, cells in methods.items()}
    columns = shown_widths(comparison, every)
    rows: list[list[str]] = []
    records: list[dict[str, Any]] = []
    for name, methods in found.items():
        for label, cells in methods.items():
            rows.append([name, label, *(cell_text(cells.get(width)) for width in columns)])
            records += [
                {"budgets": name, "method": label, "width": width, **cell.record()}
                for width, cell in sorted(cells.items())
            ]
    notes += missing_seeds(
        (f"{label} with {name}", f"×{w:g}", cell)
        for name, methods in found.items()
        for label, cells in methods.items()
        for w, cell in cells.items()
    )
    caption = (
        f"Test SA in % on {comparison.dataset} by budget distribution, method and width, mean ± standard deviation over"
        " seeds."
    )
    header = ["budgets", "method", *(f"×{width:g}" for width in columns)]
    table = Table("budgets", caption, header, rows, records, words=2, notes=notes)
    counts = {distribution(run): Counter(run.budgets) for run in runs}
    text = "Left: clients by budget. Right: test SA by width of each method; bars: standard deviation over seeds."
    figure = distributions(comparison, found, counts)
    return Part("budgets", "Budget distributions", [table], [Drawing("budgets", text, figure)])


def distribution(run: Run) -> str:
    """What a run's budgets are called: the widths as the user wrote them, and how they were dealt if not in order."""
    widths, assignment = (str(run.settings[key]) for key in AXES)
    return widths if assignment == "blocked" else f"{widths} {assignment}"


@styled
def distributions(
    comparison: Comparison, found: Mapping[str, ByMethod], counts: Mapping[str, Mapping[float, int]]
) -> Figure:
    """One row per distribution."""
    figure = new_figure(0.4 + 1.05 * len(found))
    panels = figure.subplots(len(found), 2, sharex=True, sharey="col", squeeze=False, width_ratios=[1, 1.5])
    most = max(max(count.values()) for count in counts.values())
    for (left, right), (name, methods) in zip(panels, found.items(), strict=True):
        budgets = sorted(counts[name])
        left.bar(budgets, [counts[name][budget] for budget in budgets], width=0.09, color="#555555")
        left.set_ylim(0, 1.3 * most)
        left.set_title(name, loc="left", pad=3)
        left.set_ylabel("clients")
        left.grid(axis="x", visible=False)
        for label, cells in methods.items():
            widths = sorted(cells)
            look = comparison.palette[label]
            right.errorbar(
                widths,
                [100 * cells[width].mean for width in widths],
                [cells[width].bar for width in widths],
                elinewidth=0.7,
                capsize=1.5,
                label=label,
                **look.keywords(),
            )
        right.set_ylabel("SA (%)")
        right.set_xlim(0, 1.08)
        right.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    panels[-1][0].set_xlabel("budget")
    panels[-1][1].set_xlabel("width")
    # A method may lack a distribution: the panel with the most methods has the whole legend.
    fullest = max(range(len(panels)), key=lambda row: len(panels[row][1].get_legend_handles_labels()[1]))
    legend_above(figure, panels[fullest][1])
    return figure
