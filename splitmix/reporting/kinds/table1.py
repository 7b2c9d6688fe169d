"""Table 1 of the paper: test accuracy by method and width, published numbers beneath ours."""

from __future__ import annotations

import pandas as pd

from splitmix.reporting.comparison import Comparison, Part
from splitmix.reporting.groups import grouped
from splitmix.reporting.lead import sentences, winner
from splitmix.reporting.paper import paper_accuracy, paper_rows
from splitmix.reporting.report_table import Entry, Table, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds, signed
from splitmix.runs.run import in_situ


def make(comparison: Comparison) -> Part:
    """The table."""
    groups = grouped(comparison.runs)
    lines = [line for group in groups for line in group.accuracies()]
    cells = over_seeds(lines, ["method", "width", "over_budget"])
    columns = comparison.columns(cells)
    notes = missing_seeds(cells, cells["method"], width_names(cells["width"]))
    best = {(method, width) for width in columns for method in best_methods(cells, width)}
    rows: list[list[Entry | str]] = []
    by_place = {(cell.method, cell.width): cell for cell in cells.itertuples()}
    paper: dict[tuple[str, float], float] = {}
    for group in groups:
        row: list[Entry | str] = [group.label]
        for place in [(group.label, width) for width in columns]:
            cell = by_place.get(place)
            over = cell is not None and cell.over_budget > 0
            text = "" if cell is None else cell.text + "†" * over
            row.append(Entry(text, best=place in best, aside=over))
        printed, of_paper = paper_accuracy(group)
        paper |= {(group.label, width): accuracy for width, accuracy in printed.items()}
        ours = {width: by_place[group.label, width].mean for width in printed if (group.label, width) in by_place}
        differences = {width: signed(100 * (accuracy - printed[width])) for width, accuracy in ours.items()}
        texts = {width: f"{100 * accuracy:.1f}" for width, accuracy in printed.items()}
        rows += [row, *paper_rows(columns, texts, differences)]
        notes += [note for note in of_paper if note not in notes]
    numbers = cells[["method", "width", *STATISTICS, "over_budget"]].copy()
    theirs = [paper.get(place, float("nan")) for place in zip(cells["method"], cells["width"], strict=True)]
    if any(accuracy == accuracy for accuracy in theirs):
        numbers = numbers.assign(paper=theirs, difference=cells["mean"] - theirs)
        notes.append("the paper's numbers are of a single seed; differences in points of accuracy")
    if cells["std"].isna().nunique() > 1:
        notes.append("numbers without ± are of a single seed")
    if several := [group.label for group in groups if any(in_situ(run) for run in group.runs)]:
        notes.append(f"at λ = 0, of several that one model gives: {', '.join(several)}")
    if best:
        notes.append("bold: the highest at its width")
    if ((cells["over_budget"] > 0) & cells["width"].isin(columns)).any():
        notes.append(
            "† out of competition: wider than the budget of some clients; where such a number is the highest, none is"
            " bold"
        )
    caption = (
        f"Test SA in % on {comparison.dataset} by width, mean ± standard deviation over seeds"
        f" ({sum(len(group.runs) for group in groups)} runs);"
        " SA: unweighted mean over clients of each client's accuracy on clean images."
    )
    table = Table("table1", caption, ["method", *width_names(columns)], rows, numbers, notes=notes)
    return Part("table1", "Accuracy by width", [table], lead=sentences(cells, columns, comparison.dataset))


def best_methods(cells: pd.DataFrame, width: float) -> tuple[str, ...]:
    """The methods whose number is bold at a width: none beside a higher one that is out of competition."""
    highest = winner(cells, width)
    return (
        () if highest is None or cells["mean"][cells["width"] == width].max() > highest.cell.mean else highest.methods
    )
