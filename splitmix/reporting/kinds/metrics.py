"""Metrics beyond accuracy by method and width, by domain and by class: are wider mixes better calibrated?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.metric_tables import MOST_ACROSS
from splitmix.reporting.report_table import Entry, Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, join, missing_seeds, over_seeds
from splitmix.reporting.style import Palette, error_lines, legend_above, new_figure, styled
from splitmix.reporting.tables import METRIC_NAMES
from splitmix.runs.run import Run, largest_by_width

ROWS = ["method", "metric"]
ASKED = "'test.metrics=[balanced_accuracy,f1,calibration_error,nll]'"
CALIBRATION = METRIC_NAMES["calibration_error"]
IN_NATS = METRIC_NAMES["nll"]
ACCURACY, BALANCED = METRIC_NAMES["accuracy"], METRIC_NAMES["balanced_accuracy"]
PLACES = {"domain": "per_domain", "class": "per_class"}
"""What tables call the parts of a metric."""


def make(comparison: Comparison) -> Part:
    """Tables by width, by domain and by class, confusion matrices, and the calibration error against the width."""
    dataset = comparison.dataset
    groups = [group for group in grouped(comparison.runs) if any(records_of(run) for run in group.runs)]
    if not groups:
        raise CannotShow(f"no run was tested with such metrics: splitmix test run=<folder> {ASKED}")
    width = comparison.one_width([width for run in group.runs for width in records_of(run)] for group in groups)
    lines = [line for group in groups for line in lines_of(group, "pooled")]
    tables, drawings, lead = [], [], []
    if lines:
        cells = cells_of(lines, [*ROWS, "width"])
        at_width = [group for group in groups if any(line["width"] == width for line in lines_of(group, "pooled"))]
        tables = [by_width(comparison, cells)]
        tables += [by_place(dataset, at_width, width, *names) for names in PLACES.items() if at_width]
        calibrated = cells[cells["metric"] == CALIBRATION]
        lead = sentences(calibrated, groups, dataset)
        if calibrated["width"].nunique() > 1:
            text = f"ECE on {dataset} against the width; bars: standard deviation over seeds."
            drawings.append(Drawing("calibration", text, figure_of(calibrated, comparison.palette)))
    tables += matrices(dataset, groups, width)
    return Part("metrics", "Metrics beyond accuracy", tables, drawings, lead=lead)


def by_width(comparison: Comparison, cells: pd.DataFrame) -> Table:
    """The metrics of all images together: a row for each method and metric."""
    columns = comparison.columns(cells, ROWS)
    caption = (
        f"Metrics on {comparison.dataset} by width, of clean test images of all clients together, mean ± standard"
        " deviation over seeds: in %, NLL in nats; ECE: expected calibration error in 15 bins."
    )
    words = [f"{cell.method} ({cell.metric})" for cell in cells.itertuples()]
    notes = missing_seeds(cells, words, width_names(cells["width"]))
    rows, numbers = spread(cells, ROWS, "width", columns), cells[[*ROWS, "width", *STATISTICS]]
    return Table("metrics", caption, [*ROWS, *width_names(columns)], rows, numbers, words=2, notes=notes)


def by_place(dataset: str, groups: Sequence[Group], width: float, word: str, part: str) -> Table:
    """The metrics at a width: a row for each method and domain, or class."""
    lines = [line for group in groups for line in lines_of(group, part) if line["width"] == width]
    cells = cells_of(lines, ["method", "place", "metric"])
    names = [name for name in METRIC_NAMES.values() if (cells["metric"] == name).any()]
    if part == "per_class":
        # Of one class both are its recall.
        names = [name for name in names if name != BALANCED or ACCURACY not in names]
    meaning = " (accuracy and NLL: of its images; ECE: of those predicted as it)" if part == "per_class" else ""
    caption = f"Metrics on {dataset} at ×{width:g} by {word}{meaning}, else as by width."
    numbers = cells[["method", "place", "metric", *STATISTICS]].rename(columns={"place": word})
    rows = spread(cells, ["method", "place"], "metric", names)
    return Table(f"metrics_by_{word}", caption, ["method", word, *names], rows, numbers, words=2)


def matrices(dataset: str, groups: Sequence[Group], width: float) -> list[Table]:
    """The confusion matrix of each method that has one at the width, its seeds added up; of few classes only."""
    tables: list[Table] = []
    for group in groups:
        records = [records_of(run).get(width, {}) for run in group.runs]
        known = [record["confusion_matrix"] for record in records if record.get("confusion_matrix")]
        # Data of one name may have been cut to other classes.
        classes = [matrix["classes"] for matrix in known]
        if not known or classes.count(classes[0]) < len(classes) or len(classes[0]) > MOST_ACROSS:
            continue
        total = np.sum([matrix["pooled"] for matrix in known], axis=0)
        rows: list[list[Entry | str]] = [[name, *map(str, row)] for name, row in zip(classes[0], total, strict=True)]
        numbers = [
            {"class": name, "predicted": other, "images": int(count)}
            for name, row in zip(classes[0], total, strict=True)
            for other, count in zip(classes[0], row, strict=True)
        ]
        caption = (
            f"{group.label} on {dataset} at ×{width:g}: number of clean test images by class (down) and predicted class"
            f" (across){', all seeds together' if len(known) > 1 else ''}."
        )
        number = f"_{len(tables) + 1}" if tables else ""
        tables.append(Table(f"confusion_matrix{number}", caption, ["class", *classes[0]], rows, numbers))
    return tables


def records_of(run: Run) -> dict[float, dict[str, Any]]:
    """By width the clean test with metrics: of the least λ, then on the most images."""
    return largest_by_width(
        record for record in run.clean_tests(bn="trained") if record.get("metrics") or record.get("confusion_matrix")
    )


def lines_of(group: Group, part: str) -> list[dict[str, Any]]:
    """Every known number of a part of the metrics (`pooled`, `per_domain`, `per_class`), by run, width and metric."""
    lines = []
    for run in group.runs:
        for width, record in sorted(records_of(run).items()):
            for name in [name for name in METRIC_NAMES if name in record.get("metrics", {})]:
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


def sentences(calibrated: pd.DataFrame, groups: Sequence[Group], dataset: str) -> list[str]:
    """The calibration error of the narrowest and the widest model of each method, and which way it errs."""
    clauses = []
    for method, part in calibrated.groupby("method", observed=True):
        [runs] = [group.runs for group in groups if group.label == method]
        ends = sorted({part["width"].min(), part["width"].max()})
        texts = [
            f"{part['percent'][part['width'] == width].item()} % at ×{width:g}{bias(runs, width)}" for width in ends
        ]
        clauses.append(f"{method} {join(texts)}")
    return [f"Expected calibration error on {dataset}: {'; '.join(clauses)}."] if clauses else []


def bias(runs: Sequence[Run], width: float) -> str:
    """How sure the model of a width is on average beside how often it is right, if that is known."""
    records = [records_of(run).get(width, {}) for run in runs]
    sure = [record.get("metrics", {}).get("calibration_error", {}).get("confidence") for record in records]
    known = [(share, record["accuracy"]) for share, record in zip(sure, records, strict=True) if share is not None]
    if not known:
        return ""
    confidence, accuracy = (100 * mean(values) for values in zip(*known, strict=True))
    return f" (confidence {confidence:.1f} %, accuracy {accuracy:.1f} %)"


@styled
def figure_of(cells: pd.DataFrame, palette: Palette) -> Figure:
    """A line per method."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    error_lines(axes, cells, "width", palette)
    axes.set(xlim=(0, 1.08), ylim=(0, None), xlabel="width", ylabel="ECE (%)")
    legend_above(figure, axes)
    return figure
