"""Table 4 of the paper: what batch normalisation, rescale_init and rescale_layer each contribute, by width."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd

from splitmix.reporting.comparison import CannotShow, Comparison, Part
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.report_table import Entry, Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds

AXES = {"bn": "model.bn", "rescale_init": "algorithm.rescale_init", "rescale_layer": "algorithm.rescale_layer"}
BN = ("batch", "post", "tracked", "local")
"""Modes of batch normalisation in the table's order; `post`: re-estimated statistics of a run trained with `batch`."""
ROWS = list(product(BN, (True, False), (True, False)))


def make(comparison: Comparison) -> Part:
    """One table for each method that differs in nothing else."""
    runs = [run for run in comparison.runs if all(key in run.settings for key in AXES.values())]
    groups = grouped(runs, AXES.values(), keep=lambda group: len({place(line) for line in lines_of(group)}) > 1)
    if not groups:
        raise CannotShow(
            "needs runs that differ in model.bn, algorithm.rescale_init or algorithm.rescale_layer, or a test with"
            " test.bn=post"
        )
    names = ["ablation", *(f"ablation_{number}" for number in range(2, len(groups) + 1))]
    tables = [ablation_table(comparison, *named) for named in zip(groups, names, strict=True)]
    return Part("ablation", "Ablation", tables)


def lines_of(group: Group) -> list[dict[str, Any]]:
    """SA by BN mode, rescales and width, in the table's order."""
    lines = []
    for run in group.runs:
        axes = {name: run.settings[key] for name, key in AXES.items()} | {"seed": run.seed}
        lines += [{**axes, "width": width, "sa": record["sa"]} for width, record in run.widths.items()]
        tests = run.tests(bn="post") if axes["bn"] == "batch" else []
        for width in sorted({record["width"] for record in tests}):
            if record := run.plain_test(width, bn="post"):
                lines.append({**axes, "bn": "post", "width": width, "sa": record["accuracy"]})
    return sorted(lines, key=lambda line: ROWS.index(place(line)) if place(line) in ROWS else len(ROWS))


def place(line: dict[str, Any]) -> tuple[str, bool, bool]:
    """The row of a line."""
    return line["bn"], line["rescale_init"], line["rescale_layer"]


def row_name(bn: str, init: bool, layer: bool) -> str:
    """A row in words."""
    return f"{bn}, rescale_init={str(init).lower()}, rescale_layer={str(layer).lower()}"


def ablation_table(comparison: Comparison, group: Group, name: str) -> Table:
    """Rows by BN mode and rescales, columns by width, the best of each width in bold."""
    cells = over_seeds(lines_of(group), [*AXES, "width"])
    columns = comparison.columns(cells, list(AXES))
    best = cells["mean"] == cells.groupby("width")["mean"].transform("max")
    notes = missing_seeds(cells, [row_name(*row) for row in cells[[*AXES]].values], width_names(cells["width"]))
    present = {tuple(row) for row in cells[[*AXES]].values}
    if absent := [row_name(*row) for row in ROWS if row not in present]:
        notes.append(f"not run: {'; '.join(absent)}")
    numbers = pd.DataFrame({"method": group.label, **cells[[*AXES, "width", *STATISTICS]]})
    cells["text"] = [Entry(text, best=bold) for text, bold in zip(cells["text"], best, strict=True)]
    for key in ("rescale_init", "rescale_layer"):
        cells[key] = cells[key].cat.rename_categories({True: "yes", False: "no"})
    caption = (
        f"{group.label} on {comparison.dataset}: test SA in % by batch-normalisation mode, rescale_init, rescale_layer"
        " and width, mean ± standard deviation over seeds."
    )
    header = ["BN", "rescale_init", "rescale_layer", *width_names(columns)]
    return Table(name, caption, header, spread(cells, list(AXES), "width", columns), numbers, words=3, notes=notes)
