"""Accuracy against the ε of private training, by width; beside the same method without noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.privacy.accounting import OUTSIDE, Guarantee
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import WIDTH_KEY, Group, grouped, shown
from splitmix.reporting.report_table import Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import Look, error_lines, legend_above, new_figure, ordered, spaced, styled
from splitmix.runs.run import Run

PRIVACY_KEYS = ("", ".clip_norm", ".noise_multiplier", ".target_epsilon", ".delta", ".participation")
APART = (WIDTH_KEY, *(f"privacy{key}" for key in PRIVACY_KEYS))
ROWS = ["method", "ε", "z·C"]
BEHIND = ["epsilon", "holds for"]
"""What tells rows apart and stands in the CSV file alone: the table has no room for it."""
NONE = "none"
AUDIT = (
    "what one upload gives away of an image is another question: splitmix audit run=<folder> audit.noise_multiplier=z"
    " audit.clip=C"
)


def make(comparison: Comparison) -> Part:
    """A table of ε, what it holds for, and SA by width; a figure of SA against ε."""
    groups = grouped(comparison.runs, APART, keep=lambda group: any(map(private, group.runs)))
    if not groups:
        raise CannotShow("no run has an ε: splitmix train privacy=dp_fedavg privacy.noise_multiplier=1")
    lines = [
        {"method": group.label, "seed": run.seed, "width": width, "sa": record["sa"], **columns_of(run)}
        for group in groups
        for run in sorted(group.runs, key=lambda run: columns_of(run)["epsilon"])
        for width, record in run.widths.items()
    ]
    cells = over_seeds(lines, [*ROWS, *BEHIND, "width"])
    columns = comparison.columns(cells, ROWS)
    caption = (
        f"Test SA on {comparison.dataset} in % by ε, of clients, and by width, mean ± standard deviation over seeds."
        f" {OUTSIDE}"
    )
    places = [f"ε {cell.epsilon:.4g}, ×{cell.width:g}" for cell in cells.itertuples()]
    notes = [*holding(cells), *missing_seeds(cells, cells["method"], places), AUDIT]
    numbers, header = cells[[*ROWS, *BEHIND, "width", *STATISTICS]], [*ROWS, *width_names(columns)]
    table = Table("privacy", caption, header, spread(cells, ROWS, "width", columns), numbers, words=3, notes=notes)
    drawings = [figure_part(comparison, groups, cells, words) for words in different(cells)]
    lead = [sentence(comparison.dataset, method, part) for method, part in cells.groupby("method", observed=True)]
    return Part("privacy", "Private training", [table], drawings, lead=lead)


def private(run: Run) -> bool:
    """Whether the run has an ε."""
    return (run.results.get("privacy") or {}).get("epsilon") is not None


def columns_of(run: Run) -> dict[str, Any]:
    """ε as a number (infinite without one) and with its relation, what it holds for, and the noise."""
    if (record := run.results.get("privacy")) is None:
        return {"epsilon": math.inf, "ε": NONE, "holds for": "", "z·C": ""}
    guarantee = Guarantee.of(record)
    noise = f"{guarantee.noise_multiplier:.4g}·{'∞' if guarantee.clip_norm is None else f'{guarantee.clip_norm:g}'}"
    if guarantee.epsilon is None:
        return {"epsilon": math.inf, "ε": NONE, "holds for": "", "z·C": noise}
    words = f"{guarantee.epsilon:.4g} {guarantee.relation}"
    holds_for = f"{guarantee.relation}, δ={guarantee.delta:g}, {guarantee.accountant}"
    return {"epsilon": guarantee.epsilon, "ε": words, "holds for": holds_for, "z·C": noise}


def different(cells: pd.DataFrame) -> list[str]:
    """All that some ε holds for; numbers of different ones are not to be compared."""
    return [words for words in dict.fromkeys(cells["holds for"]) if words]


def holding(cells: pd.DataFrame) -> list[str]:
    """What each ε holds for, in words."""
    named = cells[cells["holds for"] != ""].drop_duplicates(["ε", "holds for"])
    if len(every := different(cells)) == 1:
        return [f"every ε: {every[0]}"]
    each = "; ".join(f"{words}: {', '.join(part['ε'])}" for words, part in named.groupby("holds for", observed=True))
    return [f"{each}. An ε is comparable with others of the same neighbouring relation and δ alone"]


def sentence(dataset: str, method: str, cells: pd.DataFrame) -> str:
    """Accuracy at the smallest ε, and without noise where that was trained."""
    at_width = cells[cells["width"] == cells["width"].max()].sort_values("epsilon")
    first, last = at_width.iloc[0], at_width.iloc[-1]
    place = f"SA {first['percent']} % at ×{first['width']:g} with ε = {first['epsilon']:.4g} ({first['holds for']})"
    without = f", {last['percent']} % without noise" if math.isinf(last["epsilon"]) else ""
    return f"{method} on {dataset}: {place}{without}."


def figure_part(comparison: Comparison, groups: list[Group], cells: pd.DataFrame, holds_for: str) -> Drawing:
    """Where ε holds for this: a line per width of a single method, or one per method at one width."""
    methods = set(cells.loc[cells["holds for"] == holds_for, "method"])
    drawn, note = shown([group for group in groups if group.label in methods])
    labels = [group.label for group in drawn]
    points = cells[cells["method"].isin(labels) & cells["holds for"].isin([holds_for, ""])].astype({"method": str})
    looks: Mapping[str, Look] = comparison.palette
    if len(drawn) == 1:
        widths = spaced(sorted(points["width"].unique()))
        points = points[points["width"].isin(widths)]
        points = points.assign(method=width_names(points["width"]))
        looks = dict(zip(width_names(widths), ordered(len(widths)), strict=True))
        what = f"of {labels[0]}, a line per width"
    else:
        width = comparison.one_width(part["width"] for _, part in points.groupby("method"))
        points, what = points[points["width"] == width], f"at ×{width:g}"
    caption = (
        f"Test SA on {comparison.dataset} against ε of clients ({holds_for}) {what}; dotted: without noise; bars:"
        f" standard deviation over seeds.{note}"
    )
    number = different(cells).index(holds_for)
    return Drawing(f"privacy_{number + 1}" if number else "privacy", caption, figure_of(points, looks))


@styled
def figure_of(points: pd.DataFrame, looks: Mapping[str, Look]) -> Figure:
    """Lines over ε, on a logarithmic axis; a dotted line where there is no noise."""
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    is_open = points["epsilon"].map(math.isinf)
    for point in points[is_open].itertuples():
        axes.axhline(100 * point.mean, color=looks[point.method].colour, linestyle=":", linewidth=0.8)
    error_lines(axes, points[~is_open].sort_values("epsilon"), "epsilon", looks)
    axes.set_xscale("log")
    ticks = spaced(points.loc[~is_open, "epsilon"].unique())
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="ε", ylabel="test SA (%)")
    legend_above(figure, axes)
    return figure
