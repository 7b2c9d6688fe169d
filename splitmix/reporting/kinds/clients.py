"""The paper's client figure: boxes over clients of accuracy, MACs per batch and parameters per round, by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from statistics import mean, median
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from splitmix.errors import UserError
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, shown
from splitmix.reporting.runs import Run
from splitmix.reporting.style import new_figure, styled
from splitmix.reporting.table import Table
from splitmix.reporting.tables import few, fewest_images, quantity

FLOAT32_BYTES = 4
LETTERS = 24  # of a method's name on one line beside its box
AXES = {
    "accuracy": ("test SA of each client (%)", 100.0),
    "macs": ("MACs per training batch (millions)", 1e-6),
    "params": ("parameters sent per round (millions)", 1e-6),
}


def make(comparison: Comparison) -> Part:
    """A table of the spread over clients and one figure for each quantity."""
    notes: list[str] = []
    values: dict[str, dict[str, list[float]]] = {}
    names: dict[str, list[dict[str, Any]]] = {}
    images: dict[str, int] = {}
    groups = grouped(comparison.runs, apart=())
    for group in groups:
        # A client cannot run a network over its budget, so that such a method is no rival here.
        if any(run.over_budget(max(run.widths, default=0.0)) for run in group.runs):
            notes.append(f"left out: {group.label}, over the budget of some clients")
            continue
        found = client_values(comparison, group, notes)
        if found["accuracy"]:
            values[group.label] = found
            names[group.label] = client_names(group)
            pairs = [(run, record) for run in group.runs for record in own_records(run).values()]
            images[group.label] = min(fewest_images(record, run.results["clients"]) for run, record in pairs)
    if not values:
        raise CannotShow("no run within its clients' budgets has per-client accuracies of the clean test")
    rows, records = [], []
    for label, found in values.items():
        line = [label, *spread(found["accuracy"], lambda value: f"{100 * value:.1f}")]
        if reason := few(images[label]):
            line[1] = line[3] = ""
            notes.append(f"{label}: {reason}")
        for key in ("macs", "params"):
            line.append("" if not found[key] else quantity(mean(found[key])))
        rows.append(line)
        records += [
            {"method": label, **who, **record} for who, record in zip(names[label], per_client(found), strict=True)
        ]
    caption = (
        f"Clients on {comparison.dataset}, all seeds: test SA in % of each client with the widest tested model that"
        " its budget allows (worst, median, best client); means over clients of the MACs of one training batch"
        " (3 x batch x forward MACs of what the client trains) and of the parameters it sends per round."
    )
    header = ["method", "worst SA", "median SA", "best SA", "MACs/batch", "parameters/round"]
    drawn, note = shown([group for group in groups if group.label in values])
    chosen = {group.label: values[group.label] for group in drawn}
    drawings = [
        Drawing(
            f"clients_{key}",
            f"{text[0].upper()}{text[1:]}: boxes over all clients and seeds by method (line: median, diamond: mean,"
            f" whiskers: 5th to 95th percentile).{note}",
            boxes(chosen, key),
        )
        for key, (text, _) in AXES.items()
        if all(found[key] for found in chosen.values())
    ]
    return Part("clients", "Clients", [Table("clients", caption, header, rows, records, notes=notes)], drawings)


def client_values(comparison: Comparison, group: Group, notes: list[str]) -> dict[str, list[float]]:
    """Accuracy, training MACs and parameters of every client of every seed."""
    found: dict[str, list[float]] = {"accuracy": [], "macs": [], "params": []}
    for run in group.runs:
        accuracies = own_accuracies(run)
        if accuracies is None:
            notes.append(f"left out: {run.folder} has no per-client accuracies of the clean test")
            continue
        found["accuracy"] += accuracies
        found["params"] += [client["bytes_up"] / FLOAT32_BYTES for client in run.results["clients"]]
        try:
            macs = comparison.training_macs(run)
            found["macs"] += [macs[budget] for budget in run.budgets]
        except UserError as error:
            notes.append(f"MACs per batch of {group.label} are not known: {error}")
    return found


def client_names(group: Group) -> list[dict[str, Any]]:
    """Seed, client and budget, in the order of the values."""
    return [
        {"seed": run.seed, "client": client["id"], "domain": client["domain"], "budget": client["budget"]}
        for run in group.runs
        if own_accuracies(run) is not None
        for client in run.results["clients"]
    ]


def own_accuracies(run: Run) -> list[float] | None:
    """Every client's test accuracy at the widest tested width within its budget (else the narrowest tested)."""
    records = own_records(run)
    if not records:
        return None
    chosen = [max((w for w in records if w <= budget), default=min(records)) for budget in run.budgets]
    return [records[width]["per_client"][number] for number, width in enumerate(chosen)]


def own_records(run: Run) -> dict[float, dict[str, Any]]:
    """The clean test's records by width."""
    return {width: record for width in sorted(run.widths) if (record := run.plain_test(width)) is not None}


def spread(values: Sequence[float], word: Any) -> list[str]:
    """Least, median and greatest, in words."""
    return [word(pick(values)) for pick in (min, median, max)]


def per_client(found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """One record per client and seed."""
    keys = [key for key in found if found[key]]
    return [dict(zip(keys, line, strict=True)) for line in zip(*(found[key] for key in keys), strict=True)]


@styled
def boxes(values: Mapping[str, Mapping[str, Sequence[float]]], key: str) -> Figure:
    """Horizontal boxes, one per method: median, quartiles, whiskers to the 5th and 95th percentile, the rest dots."""
    text, factor = AXES[key]
    lines = sum(max(2, fill(label, LETTERS).count("\n") + 1) for label in values)
    figure = new_figure(0.6 + 0.13 * lines)
    axes = figure.add_subplot()
    # The first method stands on top.
    labels = list(values)[::-1]
    # Named `vert` before matplotlib 3.10.
    named = "orientation" in signature(axes.boxplot).parameters
    lying: dict[str, Any] = {"orientation": "horizontal"} if named else {"vert": False}
    axes.boxplot(
        [[factor * value for value in values[label][key]] for label in labels],
        **lying,
        whis=(5, 95),
        widths=0.6,
        showmeans=True,
        medianprops={"color": "#D55E00", "linewidth": 1.4},
        meanprops={"marker": "D", "markersize": 3, "markerfacecolor": "#0072B2", "markeredgecolor": "#0072B2"},
        flierprops={"marker": ".", "markersize": 2.5, "markeredgecolor": "0.5"},
    )
    axes.set_yticks(range(1, len(labels) + 1), [fill(label, LETTERS) for label in labels])
    axes.set_xlabel(text)
    axes.grid(axis="y", visible=False)
    return figure
