"""What the models cost: true MACs and parameters by method and width, and accuracy against MACs."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from splitmix.reporting.comparison import Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.paper import MACS_NOTE, paper_costs, paper_rows
from splitmix.reporting.report_table import Entry, Table, width_names
from splitmix.reporting.seeds import over_seeds, signed
from splitmix.reporting.style import error_lines, legend_above, new_figure, styled

QUANTITIES = {"macs": "MACs per image", "params": "Parameters"}


def make(comparison: Comparison) -> Part:
    """Two tables and a figure."""
    groups = grouped(comparison.runs)
    tables = [quantity_table(comparison, groups, key) for key in QUANTITIES]
    drawn, note = shown(groups)
    caption = (
        f"Test SA on {comparison.dataset} against MACs per image of the customised model, one point per width; bars:"
        f" standard deviation over seeds.{note}"
    )
    drawing = Drawing("macs", caption, accuracy_against_macs(comparison, drawn))
    return Part("macs", "MACs and parameters", tables, [drawing])


def counts_of(group: Group, key: str) -> dict[float, float]:
    """`macs` or `params` by width."""
    return {width: record[key] for run in group.runs for width, record in run.widths.items()}


def quantity_table(comparison: Comparison, groups: list[Group], key: str) -> Table:
    """The table of `macs` or `params`; settings of one algorithm that cost the same are one method."""
    ours: dict[str, dict[float, float]] = {}
    paper: dict[str, dict[float, int]] = {}
    for group in groups:
        counts, known = counts_of(group, key), ours.get(group.algorithm, {})
        same = all(counts[width] == known[width] for width in counts.keys() & known.keys())
        label = group.algorithm if same else group.label
        ours.setdefault(label, {}).update(counts)
        paper.setdefault(label, {}).update(paper_costs(group, key))
    places = [(label, width) for label, counts in ours.items() for width in sorted(counts)]
    columns = comparison.columns(pd.DataFrame(places, columns=["method", "width"]))
    numbers: list[dict[str, Any]] = [
        {"method": label, "width": width, key: ours[label][width]} for label, width in places
    ]
    rows: list[list[Entry | str]] = []
    for label, counts in ours.items():
        shared = {width: count for width, count in paper[label].items() if width in counts}
        for line in numbers:
            if line["method"] == label and line["width"] in shared:
                line |= {"paper": shared[line["width"]], "difference": line[key] - shared[line["width"]]}
        rows.append([label, *(f"{counts[width]:,.0f}" if width in counts else "" for width in columns)])
        differences = {width: signed(counts[width] - count, 0) for width, count in shared.items()}
        rows += paper_rows(columns, {width: f"{count:,}" for width, count in shared.items()}, differences)
    caption = f"{QUANTITIES[key]} of the customised model by method and width."
    notes = [MACS_NOTE] if key == "macs" else []
    return Table(key, caption, ["method", *width_names(columns)], rows, numbers, notes=notes)


@styled
def accuracy_against_macs(comparison: Comparison, groups: list[Group]) -> Figure:
    """One line per method over its widths."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    cells = over_seeds([line for group in groups for line in group.accuracies()], ["method", "width"])
    counts = {group.label: counts_of(group, "macs") for group in groups}
    cells["macs"] = [counts[cell.method][cell.width] / 1e6 for cell in cells.itertuples()]
    error_lines(axes, cells, "macs", comparison.palette)
    axes.set(xscale="log", xlabel="MACs per image (millions)", ylabel="test SA (%)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    legend_above(figure, axes)
    return figure
