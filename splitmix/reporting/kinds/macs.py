"""What the models cost: true MACs and parameters by method and width, and accuracy against MACs."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from splitmix.reporting.cells import signed
from splitmix.reporting.comparison import Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.kinds.table1 import shown_widths
from splitmix.reporting.paper import MACS_NOTE, paper_costs
from splitmix.reporting.style import legend_above, new_figure, styled
from splitmix.reporting.table import Entry, Table

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
    return Part(
        "macs", "MACs and parameters", tables, [Drawing("macs", caption, accuracy_against_macs(comparison, drawn))]
    )


def quantity_table(comparison: Comparison, groups: list[Group], key: str) -> Table:
    """The table of `macs` or `params`."""
    counts, theirs_of = merged_counts(groups, key)
    columns = shown_widths(comparison, counts)
    rows: list[list[Entry | str]] = []
    records: list[dict[str, Any]] = []
    for label, ours in counts.items():
        theirs = theirs_of[label]
        rows.append([label, *(f"{ours[width]:,.0f}" if width in ours else "" for width in columns)])
        shared = [width for width in columns if width in ours and width in theirs]
        if shared:
            paper = {width: f"{theirs[width]:,}" for width in shared}
            gap = {width: signed(ours[width] - theirs[width], 0) for width in shared}
            for name, words in (("paper", paper), ("difference", gap)):
                rows.append([Entry(name, aside=True), *(Entry(words.get(width, ""), aside=True) for width in columns)])
        for width in sorted(ours):
            record = {"method": label, "width": width, key: ours[width]}
            if width in theirs:
                record |= {"paper": theirs[width], "difference": ours[width] - theirs[width]}
            records.append(record)
    caption = f"{QUANTITIES[key]} of the customised model by method and width."
    notes = [MACS_NOTE] if key == "macs" else []
    return Table(key, caption, ["method", *(f"×{w:g}" for w in columns)], rows, records, notes=notes)


def merged_counts(groups: list[Group], key: str) -> tuple[dict[str, dict[float, float]], dict[str, dict[float, int]]]:
    """Our counts and the paper's, by method and width; settings of one algorithm that cost the same are one method."""
    ours: dict[str, dict[float, float]] = {}
    theirs: dict[str, dict[float, int]] = {}
    for group in groups:
        counts = {width: record[key] for run in group.runs for width, record in run.widths.items()}
        known = ours.get(group.algorithm, {})
        same = all(counts[width] == known[width] for width in counts.keys() & known.keys())
        label = group.algorithm if same else group.label
        ours[label] = {**ours.get(label, {}), **counts}
        theirs[label] = {**theirs.get(label, {}), **paper_costs(group, key)}
    return ours, theirs


@styled
def accuracy_against_macs(comparison: Comparison, groups: list[Group]) -> Figure:
    """One line per method over its widths."""
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    for group in groups:
        macs = {width: record["macs"] for run in group.runs for width, record in run.widths.items()}
        cells = sorted(group.accuracies().items())
        look = comparison.palette[group.label]
        axes.errorbar(
            [macs[width] / 1e6 for width, _ in cells],
            [100 * cell.mean for _, cell in cells],
            [cell.bar for _, cell in cells],
            capsize=1.5,
            elinewidth=0.7,
            label=group.label,
            **look.keywords(),
        )
    axes.set_xscale("log")
    axes.set_xlabel("MACs per image (millions)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_ylabel("test SA (%)")
    legend_above(figure, axes)
    return figure
