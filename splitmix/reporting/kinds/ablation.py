"""Table 4 of the paper: what batch normalisation, rescale_init and rescale_layer each contribute, by width."""

from __future__ import annotations

from typing import Any

from splitmix.reporting.cells import Cell, cell_text, collected, missing_seeds
from splitmix.reporting.comparison import CannotShow, Comparison, Part
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.kinds.table1 import shown_widths
from splitmix.reporting.runs import Run
from splitmix.reporting.table import Entry, Table

AXES = ("model.bn", "algorithm.rescale_init", "algorithm.rescale_layer")
ORDER = ("batch", "post", "tracked", "local")
Place = tuple[str, bool, bool, float]


def make(comparison: Comparison) -> Part:
    """One table for each method that differs in nothing else."""
    runs = [run for run in comparison.runs if all(key in run.settings for key in AXES)]
    tables = []
    for number, group in enumerate(grouped(runs, AXES, keep=lambda group: len(rows_of(ablation_cells(group))) > 1)):
        name = f"ablation_{number + 1}" if number else "ablation"
        tables.append(ablation_table(comparison, group, ablation_cells(group), name))
    if not tables:
        raise CannotShow(
            "needs runs that differ in model.bn, algorithm.rescale_init or algorithm.rescale_layer, or a test with"
            " test.bn=post"
        )
    return Part("ablation", "Ablation", tables)


def ablation_cells(group: Group) -> dict[Place, Cell]:
    """Accuracy by BN mode (`post`: re-estimated statistics of a run trained with `batch`), rescales and width."""
    triples: list[tuple[Place, int, float]] = []
    for run in group.runs:
        bn, init, layer = (run.settings[key] for key in AXES)
        triples += [((bn, init, layer, width), run.seed, record["sa"]) for width, record in run.widths.items()]
        triples += [(("post", init, layer, width), run.seed, sa) for width, sa in post_tests(run).items()]
    return collected(triples)


def rows_of(cells: dict[Place, Cell]) -> dict[tuple[str, bool, bool], dict[float, Cell]]:
    """Cells by row and width."""
    by_row: dict[tuple[str, bool, bool], dict[float, Cell]] = {}
    for (bn, init, layer, width), cell in cells.items():
        by_row.setdefault((bn, init, layer), {})[width] = cell
    return by_row


def post_tests(run: Run) -> dict[float, float]:
    """Clean accuracy by width with statistics re-estimated after training, of a run trained without any."""
    if run.settings["model.bn"] != "batch":
        return {}
    widths = {record["width"] for record in run.tests(bn="post")}
    found = {width: run.plain_test(width, bn="post") for width in sorted(widths)}
    return {width: record["accuracy"] for width, record in found.items() if record is not None}


def row_name(place: Place) -> str:
    """A row in words."""
    bn, init, layer, _ = place
    return f"{bn}, rescale_init={str(init).lower()}, rescale_layer={str(layer).lower()}"


def ablation_table(comparison: Comparison, group: Group, cells: dict[Place, Cell], name: str) -> Table:
    """Rows by BN mode and rescales, columns by width, the best of each width in bold."""
    by_row = rows_of(cells)
    order = sorted(by_row, key=lambda row: (ORDER.index(row[0]) if row[0] in ORDER else 9, not row[1], not row[2]))
    columns = shown_widths(comparison, {str(row): found for row, found in by_row.items()})
    best = {
        width: max((found[width].mean for found in by_row.values() if width in found), default=-1.0)
        for width in columns
    }
    rows: list[list[Entry | str]] = []
    records: list[dict[str, Any]] = []
    for row in order:
        bn, init, layer = row
        found = by_row[row]
        words: list[Entry | str] = [bn, "yes" if init else "no", "yes" if layer else "no"]
        for width in columns:
            shown = found.get(width)
            words.append(Entry(cell_text(shown), best=shown is not None and shown.mean == best[width]))
        rows.append(words)
        for width, cell in sorted(found.items()):
            record = {"bn": bn, "rescale_init": init, "rescale_layer": layer, "width": width, **cell.record()}
            records.append({"method": group.label, **record})
    notes = missing_seeds((row_name(place), f"×{place[3]:g}", cell) for place, cell in cells.items())
    full = [(bn, init, layer) for bn in ORDER for init in (True, False) for layer in (True, False)]
    if absent := [row for row in full if row not in by_row]:
        notes.append(f"not run: {'; '.join(row_name((*row, 0.0)) for row in absent)}")
    caption = (
        f"{group.label} on {comparison.dataset}: test SA in % by batch-normalisation mode, rescale_init, rescale_layer"
        " and width, mean ± standard deviation over seeds."
    )
    header = ["BN", "rescale_init", "rescale_layer", *(f"×{width:g}" for width in columns)]
    return Table(name, caption, header, rows, records, words=3, notes=notes)
