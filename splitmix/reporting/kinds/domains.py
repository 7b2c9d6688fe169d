"""Accuracy by domain: a table by method and width, a figure at one width (or of every width of a single method)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, image_notes, shown
from splitmix.reporting.report_table import Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, over_seeds
from splitmix.reporting.style import Look, error_lines, legend_above, new_figure, ordered, shortened, styled


def make(comparison: Comparison) -> Part:
    """The table and the figure."""
    groups = [group for group in grouped(comparison.runs) if domain_lines(group)]
    if not groups:
        raise CannotShow("no run has per-client accuracies of the clean test")
    domains = list(dict.fromkeys(client["domain"] for run in comparison.runs for client in run.results["clients"]))
    if len(domains) < 2:
        raise CannotShow(f"{comparison.dataset} has a single domain")
    cells = over_seeds([line for group in groups for line in domain_lines(group)], ["method", "width", "domain"])
    columns = comparison.columns(cells)
    named = cells[cells["width"].isin(columns)].copy()
    named["width"] = pd.Categorical(width_names(named["width"]), width_names(columns))
    rows = spread(named, ["method", "width"], "domain", domains)
    caption = f"Test SA in % on {comparison.dataset} by domain: mean over the domain's clients, ± over seeds."
    notes = [note for group in groups for note in image_notes(group)]
    numbers = cells[["method", "width", "domain", *STATISTICS]]
    table = Table("domains", caption, ["method", "width", *domains], rows, numbers, words=2, notes=notes)
    if len(groups) == 1:
        drawn = named.assign(method=named["width"])
        looks: Any = dict(zip(width_names(columns), ordered(len(columns)), strict=True))
        what, note = f"of {groups[0].label} by width", ""
    else:
        some, note = shown(groups)
        labels = [group.label for group in some]
        drawn = cells[cells["method"].isin(labels)]
        width = comparison.one_width(part for _, part in drawn.groupby("method", observed=True)["width"])
        drawn = drawn[drawn["width"] == width]
        looks, what = comparison.palette, f"at ×{width:g}"
    text = f"Test SA on {comparison.dataset} by domain, {what}; bars: standard deviation over seeds.{note}"
    return Part("domains", "Domains", [table], [Drawing("domains", text, dots(drawn, looks, domains))])


def domain_lines(group: Group) -> list[dict[str, Any]]:
    """Mean accuracy over each domain's clients, by run and width."""
    lines = []
    for run in group.runs:
        for width, record in run.plain_tests().items():
            by_domain: dict[str, list[float]] = {}
            for client, accuracy in zip(run.results["clients"], record["per_client"], strict=True):
                by_domain.setdefault(client["domain"], []).append(accuracy)
            place = {"method": group.label, "seed": run.seed, "width": width}
            lines += [{**place, "domain": name, "sa": mean(values)} for name, values in by_domain.items()]
    return lines


@styled
def dots(cells: pd.DataFrame, looks: Mapping[str, Look], domains: Sequence[str]) -> Figure:
    """One column of markers per domain, side by side."""
    figure = new_figure(2.2)
    axes = figure.add_subplot()
    methods = list(cells["method"].unique())
    step = min(0.14, 0.7 / max(1, len(methods)))
    shifts = {method: (number - (len(methods) - 1) / 2) * step for number, method in enumerate(methods)}
    places = [domains.index(cell.domain) + shifts[cell.method] for cell in cells.itertuples()]
    error_lines(axes, cells.assign(place=places), "place", looks, linestyle="none")
    for place in range(1, len(domains)):
        axes.axvline(place - 0.5, color="0.85", linewidth=0.6)
    axes.set_xticks(
        range(len(domains)), [shortened(name) for name in domains], rotation=30, ha="right", rotation_mode="anchor"
    )
    axes.set_xlim(-0.5, len(domains) - 0.5)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("test SA (%)")
    legend_above(figure, axes)
    return figure
