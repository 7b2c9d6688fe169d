"""Accuracy on corrupted images, by kind of corruption and width, and against its severity."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import grouped
from splitmix.reporting.report_table import Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import Palette, error_lines, legend_above, new_figure, styled
from splitmix.runs.run import Run, largest_by_width

ROWS = ["method", "images"]
CLEAN_IMAGES, MEAN = "clean", "mean of all kinds"


def make(comparison: Comparison) -> Part:
    """A table by kind and width, and a figure of the mean over kinds against severity."""
    groups = [group for group in grouped(comparison.runs) if any(records_of(run) for run in group.runs)]
    if not groups:
        raise CannotShow("no run was tested on corrupted images: splitmix test run=<folder> test.corruptions=all")
    width = comparison.one_width([width for run in group.runs for width in records_of(run)] for group in groups)
    lines = [
        {"method": group.label, "seed": run.seed, **line}
        for group in groups
        for run in group.runs
        for line in lines_of(run)
    ]
    every = pd.DataFrame(lines)
    means = every.groupby([*ROWS, "seed", "width"], sort=False)["sa"].mean().reset_index()
    cells = over_seeds(means.to_dict("records"), [*ROWS, "width"])
    columns = comparison.columns(cells, ROWS)
    caption = (
        f"SA on corrupted test images of {comparison.dataset} by width in %, mean over severities 1 to 5, mean ±"
        " standard deviation over seeds."
    )
    words = [f"{cell.method} ({cell.images})" for cell in cells.itertuples()]
    notes = missing_seeds(cells, words, width_names(cells["width"]))
    rows, numbers = spread(cells, ROWS, "width", columns), cells[[*ROWS, "width", *STATISTICS]]
    table = Table("corruptions", caption, [*ROWS, *width_names(columns)], rows, numbers, words=2, notes=notes)
    at_width = every[(every["width"] == width) & every["images"].isin([CLEAN_IMAGES, MEAN])]
    points = over_seeds(at_width.to_dict("records"), ["method", "severity"])
    text = (
        f"SA on {comparison.dataset} at ×{width:g} against the severity, mean over the kinds of corruption; 0: clean"
        " images; bars: standard deviation over seeds."
    )
    return Part(
        "corruptions",
        "Corrupted images",
        [table],
        [Drawing("corruptions", text, figure_of(points, comparison.palette))],
    )


def records_of(run: Run) -> dict[float, dict[str, Any]]:
    """By width the clean test with corruptions: of the least λ, then on the most images."""
    return largest_by_width(record for record in run.clean_tests(bn="trained") if record.get("corruptions"))


def lines_of(run: Run) -> list[dict[str, Any]]:
    """SA by width, kind and severity; of clean images at severity 0, and the mean over all kinds."""
    lines = []
    for width, record in sorted(records_of(run).items()):
        lines.append({"width": width, "images": CLEAN_IMAGES, "severity": 0, "sa": record["accuracy"]})
        kinds = record["corruptions"]
        for kind, accuracies in {**kinds, MEAN: averaged(list(kinds.values()))}.items():
            for severity, accuracy in enumerate(accuracies, 1):
                lines.append({"width": width, "images": kind.replace("_", " "), "severity": severity, "sa": accuracy})
    return lines


def averaged(accuracies: list[list[float]]) -> list[float]:
    """The mean over kinds at each severity."""
    return [sum(column) / len(column) for column in zip(*accuracies, strict=True)]


@styled
def figure_of(points: pd.DataFrame, palette: Palette) -> Figure:
    """A line per method over the severity."""
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    error_lines(axes, points, "severity", palette)
    axes.set(xlabel="severity", ylabel="test SA (%)", xticks=range(6))
    legend_above(figure, axes)
    return figure
