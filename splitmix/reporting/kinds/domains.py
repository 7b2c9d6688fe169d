"""Accuracy by domain: a table by method and width, a figure at one width (or of every width of a single method)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from splitmix.reporting.cells import Cell, cell_text, collected
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.kinds.table1 import shown_widths
from splitmix.reporting.style import Look, legend_above, new_figure, ordered, shortened, styled
from splitmix.reporting.table import Table

ByDomain = dict[str, Cell]


def make(comparison: Comparison) -> Part:
    """The table and the figure."""
    groups = grouped(comparison.runs)
    found = {group.label: domain_accuracies(group) for group in groups}
    found = {label: by_width for label, by_width in found.items() if by_width}
    if not found:
        raise CannotShow("no run has per-client accuracies of the clean test")
    names = list(dict.fromkeys(client["domain"] for run in comparison.runs for client in run.results["clients"]))
    if len(names) < 2:
        raise CannotShow(f"{comparison.dataset} has a single domain")
    rows, records = [], []
    for label, by_width in found.items():
        for width in shown_widths(comparison, found):
            if width in by_width:
                rows.append([label, f"×{width:g}", *(cell_text(by_width[width].get(name)) for name in names)])
        for width, cells in by_width.items():
            records += [
                {"method": label, "width": width, "domain": name, **cell.record()} for name, cell in cells.items()
            ]
    caption = f"Test SA in % on {comparison.dataset} by domain: mean over the domain's clients, ± over seeds."
    table = Table("domains", caption, ["method", "width", *names], rows, records, words=2)
    told_fewer = ""
    if len(found) == 1:
        [(label, by_width)] = found.items()
        widths = [width for width in shown_widths(comparison, found) if width in by_width]
        lines = {f"×{width:g}": by_width[width] for width in widths}
        looks, what = ordered(len(lines)), f"of {label} by width"
    else:
        drawn, told_fewer = shown([group for group in groups if group.label in found])
        width = comparison.one_width(found[group.label] for group in drawn)
        lines = {group.label: found[group.label][width] for group in drawn if width in found[group.label]}
        looks, what = [comparison.palette[label] for label in lines], f"at ×{width:g}"
    told_by = f"Test SA on {comparison.dataset} by domain, {what}; bars: standard deviation over seeds.{told_fewer}"
    return Part("domains", "Domains", [table], [Drawing("domains", told_by, dots(lines, looks, names))])


def domain_accuracies(group: Group) -> dict[float, ByDomain]:
    """Mean accuracy over each domain's clients, by width."""
    triples: list[tuple[tuple[float, str], int, float]] = []
    for run in group.runs:
        clients = run.results["clients"]
        for width in sorted(run.widths):
            record = run.plain_test(width)
            if record is None:
                continue
            by_domain: dict[str, list[float]] = {}
            for client, accuracy in zip(clients, record["per_client"], strict=True):
                by_domain.setdefault(client["domain"], []).append(accuracy)
            triples += [((width, name), run.seed, mean(values)) for name, values in by_domain.items()]
    found: dict[float, ByDomain] = {}
    for (width, name), cell in sorted(collected(triples).items(), key=lambda item: item[0][0]):
        found.setdefault(width, {})[name] = cell
    return found


@styled
def dots(lines: Mapping[str, ByDomain], looks: Sequence[Look], names: Sequence[str]) -> Figure:
    """One column of markers per domain, side by side."""
    figure = new_figure(2.2)
    axes = figure.add_subplot()
    step = min(0.14, 0.7 / max(1, len(lines)))
    for number, ((label, cells), look) in enumerate(zip(lines.items(), looks, strict=True)):
        shift = (number - (len(lines) - 1) / 2) * step
        places = [index + shift for index, name in enumerate(names) if name in cells]
        shown: list[Any] = [cells[name] for name in names if name in cells]
        axes.errorbar(
            places,
            [100 * cell.mean for cell in shown],
            [cell.bar for cell in shown],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            elinewidth=0.7,
            capsize=1.5,
            label=label,
        )
    for place in range(1, len(names)):
        axes.axvline(place - 0.5, color="0.85", linewidth=0.6)
    axes.set_xticks(
        range(len(names)), [shortened(name) for name in names], rotation=30, ha="right", rotation_mode="anchor"
    )
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("test SA (%)")
    legend_above(figure, axes)
    return figure
