"""Metrics beyond accuracy by method and width, by domain and by class: are wider mixes better calibrated?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.report_table import Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import Palette, error_lines, legend_above, new_figure, styled
from splitmix.reporting.tables import METRIC_NAMES
from splitmix.runs.run import Run

ROWS = ["method", "metric"]
ASKED = "'test.metrics=[balanced_accuracy,f1,calibration_error,nll]'"
CALIBRATION = METRIC_NAMES["calibration_error"]
IN_NATS = METRIC_NAMES["nll"]
MOST_CLASSES = 20
"""Classes that stand side by side in a table."""


def make(comparison: Comparison) -> Part:
    """Tables by width, by domain and by class, and the calibration error against the width."""
    groups = [group for group in grouped(comparison.runs) if any(records_of(run) for run in group.runs)]
    if not groups:
        raise CannotShow(f"no run was tested with such metrics: splitmix test run=<folder> {ASKED}")
    cells = cells_of([line for group in groups for line in lines_of(group, "pooled")], [*ROWS, "width"])
    columns = comparison.columns(cells, ROWS)
    caption = (
        f"Metrics on {comparison.dataset} by width, of clean test images of all clients together, mean ± standard"
        " deviation over seeds: in %, NLL in nats; ECE: expected calibration error in 15 bins."
    )
    words = [f"{cell.method} ({cell.metric})" for cell in cells.itertuples()]
    notes = missing_seeds(cells, words, width_names(cells["width"]))
    rows, numbers = spread(cells, ROWS, "width", columns), cells[[*ROWS, "width", *STATISTICS]]
    tables = [Table("metrics", caption, [*ROWS, *width_names(columns)], rows, numbers, words=2, notes=notes)]
    width = comparison.one_width(part for _, part in cells.groupby("method", observed=True)["width"])
    for name, part in (("domain", "per_domain"), ("class", "per_class")):
        lines = [line for group in groups for line in lines_of(group, part) if line["width"] == width]
        some = cells_of(lines, [*ROWS, "place"])
        places = list(dict.fromkeys(line["place"] for line in lines))
        caption = f"Metrics on {comparison.dataset} at ×{width:g} by {name}, as in the table by width."
        header, rows = [*ROWS, *places], spread(some, ROWS, "place", places)
        if len(places) > MOST_CLASSES:
            header, rows = [*ROWS, name, "value"], some[[*ROWS, "place", "text"]].astype(str).values.tolist()
        numbers = some[[*ROWS, "place", *STATISTICS]].rename(columns={"place": name})
        tables.append(Table(f"metrics_by_{name}", caption, header, rows, numbers, words=2))
    calibrated = cells[cells["metric"] == CALIBRATION]
    drawings = []
    if calibrated["width"].nunique() > 1:
        text = f"ECE on {comparison.dataset} against the width; bars: standard deviation over seeds."
        drawings.append(Drawing("calibration", text, figure_of(calibrated, comparison.palette)))
    return Part("metrics", "Metrics beyond accuracy", tables, drawings, lead=sentences(calibrated, comparison.dataset))


def records_of(run: Run) -> dict[float, dict[str, Any]]:
    """By width the clean test with metrics: of the least λ, then on the most images."""
    records = [record for record in run.clean_tests(bn="trained") if record.get("metrics")]
    return {
        record["width"]: record
        for record in sorted(records, key=lambda record: (-record["adv_lambda"], record["n_images"]))
    }


def lines_of(group: Group, part: str) -> list[dict[str, Any]]:
    """Every known number of a part of the metrics (`pooled`, `per_domain`, `per_class`), by run, width and metric."""
    lines = []
    for run in group.runs:
        for width, record in sorted(records_of(run).items()):
            for name in [name for name in METRIC_NAMES if name in record["metrics"]]:
                values = record["metrics"][name][part]
                place = {"method": group.label, "metric": METRIC_NAMES[name], "seed": run.seed, "width": width}
                for where, value in (values if isinstance(values, dict) else {"": values}).items():
                    if value is not None:
                        lines.append({**place, "place": where, "value": value})
    return lines


def cells_of(lines: Sequence[dict[str, Any]], by: Sequence[str]) -> pd.DataFrame:
    """The numbers over seeds; those in nats are not per cent."""
    cells = over_seeds(lines, by, "value")
    nats = [
        f"{cell.mean:.3f}" if cell.std != cell.std else f"{cell.mean:.3f} ± {cell.std:.3f}"
        for cell in cells.itertuples()
    ]
    cells["text"] = cells["text"].where(cells["metric"] != IN_NATS, nats)
    return cells


def sentences(calibrated: pd.DataFrame, dataset: str) -> list[str]:
    """How the calibration error goes from the narrowest to the widest model of each method, in a sentence."""
    clauses = []
    for method, part in calibrated.groupby("method", observed=True):
        first, last = (part.loc[part["width"].idxmin()], part.loc[part["width"].idxmax()])
        if first["width"] < last["width"]:
            ends = f"{first['percent']} % at ×{first['width']:g} and {last['percent']} % at ×{last['width']:g}"
            clauses.append(f"{method} {ends}")
    return [f"Expected calibration error on {dataset}: {'; '.join(clauses)}."] if clauses else []


@styled
def figure_of(cells: pd.DataFrame, palette: Palette) -> Figure:
    """A line per method."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    error_lines(axes, cells, "width", palette)
    axes.set(xlim=(0, 1.08), ylim=(0, None), xlabel="width", ylabel="ECE (%)")
    legend_above(figure, axes)
    return figure
