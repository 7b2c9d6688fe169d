"""Accuracy against mean cost of early exit, beside the fixed widths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import grouped, shown
from splitmix.reporting.labels import Label, label_points
from splitmix.reporting.report_table import Entry, Table
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import Palette, legend_above, new_figure, styled
from splitmix.runs.run import Run, largest_by_width

EXIT, FIXED = "until", "width"
"""What the models of a row have in common: a confidence at which they stop, or a width."""
PLACE = ["method", "kind", "at"]
NEAR = 0.005
"""The sentence names the cheapest confidence that costs no more accuracy than this."""


def make(comparison: Comparison) -> Part:
    """A table and a figure: each method's early exit up to a width, and its fixed widths up to there."""
    groups = [group for group in grouped(comparison.runs) if any(records_of(run) for run in group.runs)]
    if not groups:
        raise CannotShow("no run was tested with early exit: splitmix test run=<folder> test.anytime=true")
    width = comparison.one_width([width for run in group.runs for width in records_of(run)] for group in groups)
    lines = [
        {"method": group.label, "seed": run.seed, **line}
        for group in groups
        for run in group.runs
        for line in lines_of(run, width)
    ]
    cells = over_seeds(lines, PLACE)
    costs = pd.DataFrame(lines).groupby(PLACE)[["base_models", "macs"]].mean().reset_index()
    cells = cells.astype({"method": str, "kind": str}).merge(costs, on=PLACE)
    caption = (
        f"Early exit on {comparison.dataset} up to ×{width:g}: SA with fixed statistics in %, mean ± standard deviation"
        " over seeds, where mixing stops at a confidence (until), and of fixed widths; base models and MACs of an image"
        " on average."
    )
    rows: list[list[Entry | str]] = [
        [cell.method, named(cell), cell.text, f"{cell.base_models:.2f}", f"{cell.macs / 1e6:.2f} M"]
        for cell in cells.itertuples()
    ]
    header = ["method", "stops at", "SA", "base models", "MACs"]
    notes = missing_seeds(cells, cells["method"], [named(cell) for cell in cells.itertuples()])
    numbers = cells[[*PLACE, *STATISTICS, "base_models", "macs"]]
    table = Table("anytime", caption, header, rows, numbers, words=2, notes=notes)
    drawn, note = shown([group for group in groups if (cells["method"] == group.label).any()])
    text = (
        f"SA on {comparison.dataset} against mean MACs per image: early exit up to ×{width:g} (solid, a point per"
        " confidence; of a single method some are named), and fixed widths (dashed, hollow); bars: standard deviation"
        f" over seeds.{note}"
    )
    figure = figure_of(cells, [group.label for group in drawn], comparison.palette)
    lead = [sentence(comparison.dataset, method, part, width) for method, part in cells.groupby("method", sort=False)]
    return Part("anytime", "Early exit", [table], [Drawing("anytime", text, figure)], lead=lead)


def records_of(run: Run) -> dict[float, dict[str, Any]]:
    """By width the clean test with early exit: of the least λ, then on the most images."""
    if not hasattr(run.config.algorithm, "base_width"):
        return {}
    return largest_by_width(record for record in run.clean_tests(bn="trained") if record.get("anytime"))


def lines_of(run: Run, width: float) -> list[dict[str, Any]]:
    """SA, base models and MACs by confidence, and by fixed width of the same images and λ; empty without a record."""
    record = records_of(run).get(width)
    if record is None:
        return []
    curve = record["anytime"]
    of_one = curve["macs"][0] / curve["base_models"][0]
    lines = [
        {"kind": EXIT, "at": until, "sa": sa, "base_models": count, "macs": macs}
        for until, sa, count, macs in zip(*(curve[key] for key in CURVE), strict=True)
    ]
    for other in run.clean_tests(bn="trained", adv_lambda=record["adv_lambda"], n_images=record["n_images"]):
        if "accuracy_fixed" in other and other["width"] <= width:
            count = round(other["width"] / run.config.algorithm.base_width)
            accuracy = other["accuracy_fixed"]
            lines.append(
                {"kind": FIXED, "at": other["width"], "sa": accuracy, "base_models": count, "macs": count * of_one}
            )
    return lines


NAMED = (0.3, 0.5, 0.7, 0.9)
"""Confidences that stand at their points where there is a single method."""
CURVE = ("until", "accuracy", "base_models", "macs")
"""The columns of an early exit in a test record."""


def named(cell: Any) -> str:
    """What a row of the table calls its model."""
    return f"until={cell.at:g}" if cell.kind == EXIT else f"×{cell.at:g}"


def sentence(dataset: str, method: str, cells: pd.DataFrame, width: float) -> str:
    """The cheapest confidence that is about as right as mixing everything."""
    exits = cells[cells["kind"] == EXIT]
    full = exits.loc[exits["at"].idxmax()]
    best = exits[exits["mean"] >= full["mean"] - NEAR].sort_values("macs").iloc[0]
    return (
        f"{method} on {dataset}: until={best['at']:g} reaches SA {best['percent']} % at {best['macs'] / 1e6:.2f} M MACs"
        f" on average; until={full['at']:g}, up to ×{width:g}, {full['percent']} % at {full['macs'] / 1e6:.2f} M."
    )


@styled
def figure_of(cells: pd.DataFrame, methods: Sequence[str], palette: Palette) -> Figure:
    """Two lines per method: early exit over its confidences, fixed widths dashed."""
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    for method in methods:
        look = palette[method]
        for kind, style in ((EXIT, {}), (FIXED, {"linestyle": (0, (4, 2)), "mfc": "white"})):
            part = cells[(cells["method"] == method) & (cells["kind"] == kind)].sort_values("macs")
            label = f"{method}, {'early exit' if kind == EXIT else 'fixed width'}"
            keywords = {**look.keywords(), "elinewidth": 0.7, "capsize": 1.5, "linestyle": "-", **style}
            axes.errorbar(part["macs"] / 1e6, 100 * part["mean"], part["bar"], label=label, **keywords)
    axes.set(xlabel="mean MACs per image (millions)", ylabel="test SA (%)", xlim=(0, None))
    legend_above(figure, axes)
    if len(methods) == 1:
        mine = cells[cells["method"] == methods[0]].sort_values("macs").assign(x=lambda part: part["macs"] / 1e6)
        curves = [part.assign(y=100 * part["mean"])[["x", "y"]].to_numpy() for _, part in mine.groupby("kind")]
        named = [cell for cell in mine.itertuples() if cell.kind == EXIT and cell.at in NAMED]
        colour = palette[methods[0]].colour
        labels = [Label(cell.x, 100 * cell.mean, f"{cell.at:g}", colour) for cell in named]
        label_points(figure, axes, labels, curves)
    return figure
