"""Table 1 of the paper: test accuracy by method and width, the paper's numbers beneath ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitmix.reporting.cells import Cell, cell_text, missing_seeds, signed
from splitmix.reporting.comparison import CannotShow, Comparison, Part
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.lead import sentences, winner
from splitmix.reporting.paper import paper_accuracy
from splitmix.reporting.runs import in_situ
from splitmix.reporting.table import Entry, Table

MOST_COLUMNS = 8
"""Widths that stand side by side: as many as a network of eight base models has."""


def make(comparison: Comparison) -> Part:
    """The table."""
    groups = grouped(comparison.runs)
    cells = {group.label: group.accuracies() for group in groups}
    columns = shown_widths(comparison, cells)
    rows: list[list[Entry | str]] = []
    records: list[dict[str, Any]] = []
    notes = missing_seeds(
        (label, f"×{width:g}", cell) for label, by_width in cells.items() for width, cell in by_width.items()
    )
    best = {width: best_methods(groups, cells, width) for width in columns}
    for group in groups:
        by_width = cells[group.label]
        line: list[Entry | str] = [group.label]
        for width in columns:
            cell = by_width.get(width)
            over = cell is not None and bool(group.runs[0].over_budget(width))
            line.append(Entry(cell_text(cell) + "†" * over, best=group.label in best[width], aside=over))
        printed, departs = paper_accuracy(group)
        rows.append(line)
        if any(width in printed for width in columns):
            rows += paper_rows(columns, by_width, printed)
        for width, cell in sorted(by_width.items()):
            record = {"method": group.label, "width": width, **cell.record()}
            record["over_budget"] = group.runs[0].over_budget(width)
            if width in printed:
                record |= {"paper": printed[width], "difference": cell.mean - printed[width]}
            records.append(record)
        if departs:
            notes.append(f"{group.label} departs from the paper's protocol: {', '.join(departs)}")
    if any("paper" in record for record in records):
        notes.append("the paper's numbers are of a single seed; differences in points of accuracy")
    each = [cell for by_width in cells.values() for cell in by_width.values()]
    if len({len(cell.by_seed) > 1 for cell in each}) > 1:
        notes.append("numbers without ± are of a single seed")
    if several := [group.label for group in groups if any(in_situ(run) for run in group.runs)]:
        notes.append(f"at λ = 0, of several that one model gives: {', '.join(several)}")
    if any(best.values()):
        notes.append("bold: the highest at its width")
    if any(group.runs[0].over_budget(width) for group in groups for width in cells[group.label] if width in columns):
        notes.append(
            "† out of competition: wider than the budget of some clients; where such a number is the highest, none is"
            " bold"
        )
    count = sum(len(group.runs) for group in groups)
    caption = (
        f"Test SA in % on {comparison.dataset} by width, mean ± standard deviation over seeds ({count} runs);"
        " SA: unweighted mean over clients of each client's accuracy on clean images."
    )
    header = ["method", *(f"×{width:g}" for width in columns)]
    table = Table("table1", caption, header, rows, records, notes=notes)
    lead = sentences(groups, cells, columns, comparison.dataset)
    return Part("table1", "Accuracy by width", [table], lead=lead)


def shown_widths(comparison: Comparison, cells: Mapping[str, Mapping[float, Any]]) -> list[float]:
    """Columns: every width that a method has; of too many, the budgets of clients and what some method has alone."""
    columns = sorted({width for by_width in cells.values() for width in by_width})
    if not columns:
        raise CannotShow("none of these runs has a final test")
    if len(columns) > MOST_COLUMNS:
        chosen = {budget for run in comparison.runs for budget in run.budgets}
        chosen |= {width for by_width in cells.values() if len(by_width) == 1 for width in by_width}
        columns = [width for width in columns if width in chosen] or columns
    return columns


def best_methods(groups: Sequence[Group], cells: Mapping[str, Mapping[float, Cell]], width: float) -> tuple[str, ...]:
    """The methods whose number is bold at a width: none beside a higher one that is out of competition."""
    highest_method = winner(groups, cells, width)
    highest = max(by_width[width].mean for by_width in cells.values() if width in by_width)
    return () if highest_method is None or highest > highest_method.cell.mean else highest_method.methods


def paper_rows(
    columns: Sequence[float], cells: Mapping[float, Cell], printed: Mapping[float, float]
) -> list[list[Entry | str]]:
    """The paper's accuracies and the differences of ours, in per cent."""
    paper: list[Entry | str] = [Entry("paper", aside=True)]
    difference: list[Entry | str] = [Entry("difference", aside=True)]
    for width in columns:
        paper.append(Entry(f"{100 * printed[width]:.1f}" if width in printed else "", aside=True))
        known = width in printed and width in cells
        difference.append(Entry(signed(100 * (cells[width].mean - printed[width])) if known else "", aside=True))
    return [paper, difference]
