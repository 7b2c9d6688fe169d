"""The paper's client figure: boxes over clients of accuracy, MACs per batch and parameters per round, by method."""

from __future__ import annotations

from inspect import signature
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.errors import UserError
from splitmix.payload import payload_entries
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped, image_notes, shown
from splitmix.reporting.report_table import Table
from splitmix.reporting.style import new_figure, styled
from splitmix.reporting.tables import few, quantity
from splitmix.runs.rows import fewest_images

LETTERS = 24  # of a method's name on one line beside its box
AXES = {
    "accuracy": ("test SA of each client (%)", 100.0),
    "macs": ("MACs per training batch (millions)", 1e-6),
    "params": ("parameters sent per round (millions)", 1e-6),
}


def make(comparison: Comparison) -> Part:
    """A table of the spread over clients and one figure for each quantity."""
    notes: list[str] = []
    compared, clients = within_budgets(comparison, notes)
    if not clients:
        raise CannotShow("no run within its clients' budgets has per-client accuracies of the clean test")
    notes += [note for group in compared for note in image_notes(group)]
    too_few = {group.label: reason for group in compared if (reason := few(images_per_client(group)))}
    notes += [f"{label}: {reason}; no box of its SA is drawn" for label, reason in too_few.items()]
    rows = [[label, *summary(frame, label in too_few)] for label, frame in clients.items()]
    caption = (
        f"Clients on {comparison.dataset}, all seeds: test SA in % of each client with the widest tested model that"
        " its budget allows (worst, median, best client); means over clients of the MACs of one training batch"
        " (3 x batch x forward MACs of what the client trains) and of the parameters it sends per round."
    )
    header = ["method", "worst SA", "median SA", "best SA", "MACs/batch", "parameters/round"]
    table = Table("clients", caption, header, rows, pd.concat(clients.values()), notes=notes)
    drawn, note = shown(compared)
    drawings = []
    for key, (quantity_name, _) in AXES.items():
        labels = [group.label for group in drawn if key != "accuracy" or group.label not in too_few]
        if labels and all(key in clients[label] for label in labels):
            text = (
                f"{quantity_name[0].upper()}{quantity_name[1:]}: boxes over all clients and seeds by method (line:"
                f" median, diamond: mean, whiskers: 5th to 95th percentile).{note}"
            )
            figure = boxes({label: clients[label][key] for label in labels}, key)
            drawings.append(Drawing(f"clients_{key}", text, figure))
    return Part("clients", "Clients", [table], drawings)


def within_budgets(comparison: Comparison, notes: list[str]) -> tuple[list[Group], dict[str, pd.DataFrame]]:
    """The methods that keep to the budgets of their clients, and by label every client of every seed (`client_lines`).

    Args:
        notes: which methods are left out, and why, is added here.
    """
    clients: dict[str, pd.DataFrame] = {}
    groups = grouped(comparison.runs, apart=())
    for group in groups:
        # A client cannot run a network over its budget, so that such a method is no rival here.
        if any(run.over_budget(max(run.widths, default=0.0)) for run in group.runs):
            notes.append(f"left out: {group.label}, over the budget of some clients")
        elif lines := client_lines(comparison, group, notes):
            # Costs that are not known of every run are not known of the method.
            clients[group.label] = pd.DataFrame(lines).dropna(axis="columns")
    return [group for group in groups if group.label in clients], clients


def client_lines(comparison: Comparison, group: Group, notes: list[str]) -> list[dict[str, Any]]:
    """Accuracy, training MACs (None where they are not known) and parameters of every client of every seed."""
    lines = []
    for run in group.runs:
        accuracies, macs = run.client_accuracies(), dict[float, float]()
        if not accuracies:
            notes.append(f"left out: {run.folder} has no per-client accuracies of the clean test")
            continue
        try:
            macs |= comparison.training_macs(run)
        except UserError as error:
            notes.append(f"MACs per batch of {group.label} are not known: {error}")
        for client, accuracy in zip(run.results["clients"], accuracies, strict=True):
            who = {"seed": run.seed, "client": client["id"], "domain": client["domain"], "budget": client["budget"]}
            costs = {"macs": macs.get(client["budget"]), "params": payload_entries(client["bytes_up"])}
            lines.append({"method": group.label, **who, "accuracy": accuracy, **costs})
    return lines


def images_per_client(group: Group) -> int:
    """The fewest test images of any client of these runs."""
    records = [(record, run.results["clients"]) for run in group.runs for record in run.plain_tests().values()]
    return min(fewest_images(*record) for record in records)


def summary(clients: pd.DataFrame, too_few: bool) -> list[str]:
    """Worst, median and best SA, and the mean of each cost; without the worst and the best of too few images."""
    worst, median, best = (f"{100 * accuracy:.1f}" for accuracy in clients["accuracy"].quantile([0.0, 0.5, 1.0]))
    costs = [quantity(clients[key].mean()) if key in clients else "" for key in ("macs", "params")]
    return ["" if too_few else worst, median, "" if too_few else best, *costs]


@styled
def boxes(values: dict[str, pd.Series], key: str) -> Figure:
    """Horizontal boxes, one per method: median, quartiles, whiskers to the 5th and 95th percentile, the rest dots."""
    text, factor = AXES[key]
    figure = new_figure(0.6 + 0.13 * sum(max(2, fill(label, LETTERS).count("\n") + 1) for label in values))
    axes = figure.add_subplot()
    # The first method stands on top.
    labels = list(values)[::-1]
    # Named `vert` before matplotlib 3.10.
    named = "orientation" in signature(axes.boxplot).parameters
    lying: dict[str, Any] = {"orientation": "horizontal"} if named else {"vert": False}
    axes.boxplot(
        [factor * values[label] for label in labels],
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
