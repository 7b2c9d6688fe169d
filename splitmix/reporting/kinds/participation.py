"""Accuracy against the number of clients that take part in a round, by method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from splitmix.reporting.cells import Cell, cell_text, collected, missing_seeds
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import WIDTH_KEY, Group, grouped
from splitmix.reporting.runs import Run
from splitmix.reporting.style import legend_above, new_figure, styled
from splitmix.reporting.table import Table

AXIS = "clients_per_round"


def make(comparison: Comparison) -> Part:
    """The table and the figure."""
    groups = grouped(
        comparison.runs, (WIDTH_KEY, AXIS), keep=lambda group: len({participants(run) for run in group.runs}) > 1
    )
    tested = {group.label: set(group.accuracies()) for group in groups}
    counts = sorted({participants(run) for group in groups for run in group.runs})
    if not groups:
        raise CannotShow(f"needs runs with at least two values of {AXIS}")
    width = comparison.one_width(tested.values())
    found = {group.label: by_participants(group, width) for group in groups if width in tested[group.label]}
    rows = [[label, *(cell_text(cells.get(count)) for count in counts)] for label, cells in found.items()]
    records: list[dict[str, Any]] = [
        {"method": label, "width": width, AXIS: count, **cell.record()}
        for label, cells in found.items()
        for count, cell in sorted(cells.items())
    ]
    notes = missing_seeds(
        (label, f"{count} clients", cell) for label, cells in found.items() for count, cell in cells.items()
    )
    caption = (
        f"Test SA in % on {comparison.dataset} at ×{width:g} by clients per round, mean ± standard deviation over"
        " seeds."
    )
    table = Table("participation", caption, ["method", *map(str, counts)], rows, records, notes=notes)
    text = f"Test SA at ×{width:g} against clients per round; bars: standard deviation over seeds."
    drawing = Drawing("participation", text, lines(comparison, found, counts))
    return Part("participation", "Clients per round", [table], [drawing])


def participants(run: Run) -> int:
    """Clients per round; all of them where the config says null."""
    asked = run.settings[AXIS]
    return len(run.results["clients"]) if asked is None else int(asked)


def by_participants(group: Group, width: float) -> dict[int, Cell]:
    """Accuracy at a width by clients per round."""
    runs = [run for run in group.runs if width in run.widths]
    return collected((participants(run), run.seed, run.widths[width]["sa"]) for run in runs)


@styled
def lines(comparison: Comparison, found: Mapping[str, Mapping[int, Cell]], counts: list[int]) -> Figure:
    """One line per method."""
    figure = new_figure(1.9)
    axes = figure.add_subplot()
    for label, cells in found.items():
        shown = sorted(cells)
        look = comparison.palette[label]
        axes.errorbar(
            shown,
            [100 * cells[count].mean for count in shown],
            [cells[count].bar for count in shown],
            elinewidth=0.7,
            capsize=1.5,
            label=label,
            **look.keywords(),
        )
    axes.set_xscale("log")
    axes.set_xticks(counts, list(map(str, counts)))
    axes.minorticks_off()
    axes.set_xlabel("clients per round")
    axes.set_ylabel("test SA (%)")
    legend_above(figure, axes)
    return figure
