"""Methods in the order of what clients get at their own budgets, with costs, and what chance may explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from splitmix.errors import UserError
from splitmix.payload import payload_bytes
from splitmix.reporting.comparison import CannotShow, Comparison, Part
from splitmix.reporting.groups import Group, image_notes
from splitmix.reporting.kinds.clients import within_budgets
from splitmix.reporting.report_table import Entry, Table, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.tables import UNKNOWN, quantity

LEVEL = 0.05
"""A difference with a smaller p is told from chance."""


def make(comparison: Comparison) -> Part:
    """The table.

    Raises:
        CannotShow: fewer than two methods within the budgets of their clients were tested client by client.
    """
    notes: list[str] = []
    groups, frames = comparable(comparison, notes)
    if len(frames) < 2:
        raise CannotShow("a league needs two methods at equal budgets, with per-client accuracies")
    own_budget = by_method(
        [{"sa": accuracy, **line} for label in frames for accuracy, line in seed_means(frames[label])]
    )
    widest = by_method([line for group in groups for line in widest_accuracies(group)])
    order = sorted(frames, key=lambda label: -own_budget.loc[label, "mean"])
    chance = p_values(frames[order[0]], {label: frames[label] for label in order[1:]})
    tied = {order[0], *(label for label, p in chance.items() if p is not None and p >= LEVEL)}
    memory = {group.label: memory_of(comparison, group, frames[group.label]) for group in groups}
    rows: list[list[Entry | str]] = []
    numbers: list[dict[str, Any]] = []
    for place, label in enumerate(order, start=1):
        frame, p = frames[label], chance.get(label)
        macs = float(frame["macs"].mean()) if "macs" in frame else None
        sent = payload_bytes(round(frame["params"].mean()))
        p_text = "" if place == 1 else UNKNOWN if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
        accuracy = Entry(own_budget.loc[label, "text"], best=label in tied)
        costs = [quantity(sent, "B"), quantity(macs), quantity(memory[label], "B")]
        rows.append([label, accuracy, p_text, widest.loc[label, "text"], *costs])
        numbers.append(
            {"place": place, "method": label, **{name: own_budget.loc[label, name] for name in STATISTICS}, "p": p}
            | {"widest": widest.loc[label, "mean"], "bytes_up": sent, "macs_per_batch": macs}
            | {"memory": memory[label]}
        )
    notes += missing_seeds(own_budget, own_budget.index, ["own budget"] * len(own_budget))
    notes += [note for group in groups for note in image_notes(group)]
    notes.append(f"bold: the highest, and what is not told from it (p ≥ {LEVEL:g})")
    notes.append(
        "p: Wilcoxon's signed-rank test of the clients' accuracies, their means over common seeds, against the highest"
        " method; by Holm for the number of methods. Clients of one federation are not independent: a guide, no proof"
    )
    header = ["method", "own budget", "p", "widest", "sent/round", "MACs/batch", "memory"]
    caption = (
        f"Methods on {comparison.dataset}, clients of equal budgets: test SA in % of each client with the widest tested"
        " model that its budget allows, and of all clients with the widest model that the method gives; mean ±"
        " standard deviation over seeds. Means over clients of the bytes sent in a round, of the MACs of a training"
        " batch, and of the memory that training takes: weights, gradients, momentum and what a forward pass keeps, of"
        " base models that are trained one after another."
    )
    table = Table("league", caption, header, rows, pd.DataFrame(numbers), notes=notes)
    lead = [sentence(comparison.dataset, order, own_budget, chance)]
    return Part("league", "League", [table, at_budgets(comparison, groups, order)], lead=lead)


def memory_of(comparison: Comparison, group: Group, clients: pd.DataFrame) -> float | None:
    """Bytes that training takes, the mean over clients; None where it is not known."""
    with suppress(UserError):
        beside = clients["budget"].map(comparison.training_memory(group.runs[0]))
        held = [payload_bytes(round(entries)) for entries in clients["params"]]
        return None if beside.isna().any() else float((beside + held).mean())
    return None


def at_budgets(comparison: Comparison, groups: Sequence[Group], order: Sequence[str]) -> Table:
    """SA of all clients at every width that is the budget of some, the methods in the order of the league."""
    budgets = sorted({client["budget"] for group in groups for run in group.runs for client in run.results["clients"]})
    lines = [line for group in groups for line in group.accuracies() if line["width"] in budgets]
    cells = over_seeds(lines, ["method", "width"])
    texts = {(cell.method, cell.width): cell for cell in cells.itertuples()}
    best = cells.groupby("width")["mean"].max()
    rows: list[list[Entry | str]] = []
    for label in order:
        places = [(label, width) for width in budgets]
        entries = [
            Entry(texts[place].text, best=texts[place].mean == best[place[1]]) if place in texts else Entry("")
            for place in places
        ]
        rows.append([label, *entries])
    caption = (
        f"The same methods on {comparison.dataset}: test SA in % of all clients with the model of each budget, mean ±"
        " standard deviation over seeds."
    )
    notes = ["bold: the highest at its width"]
    numbers = cells[["method", "width", *STATISTICS]]
    return Table("league_widths", caption, ["method", *width_names(budgets)], rows, numbers, notes=notes)


def comparable(comparison: Comparison, notes: list[str]) -> tuple[list[Group], dict[str, pd.DataFrame]]:
    """Of the methods within their clients' budgets (`within_budgets`) those with the clients of the first one."""
    groups, frames = within_budgets(comparison, notes)
    budgets = {label: dict(zip(frame["client"], frame["budget"], strict=True)) for label, frame in frames.items()}
    others = [label for label in budgets if budgets[label] != budgets[groups[0].label]]
    notes += [f"left out: {label}, other clients or budgets" for label in others]
    kept = [group for group in groups if group.label not in others]
    return kept, {group.label: frames[group.label] for group in kept}


def seed_means(frame: pd.DataFrame) -> list[tuple[float, dict[str, Any]]]:
    """The mean over clients of each seed, with its method and seed."""
    means = frame.groupby(["method", "seed"], observed=True)["accuracy"].mean()
    return [(accuracy, {"method": method, "seed": seed}) for (method, seed), accuracy in means.items()]


def widest_accuracies(group: Group) -> list[dict[str, Any]]:
    """SA of every seed at the widest width of the method."""
    lines = group.accuracies()
    widest = max(line["width"] for line in lines)
    return [line for line in lines if line["width"] == widest]


def by_method(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Mean and deviation over seeds by method."""
    cells = over_seeds(lines, ["method"])
    return cells.set_index(cells["method"].astype(str))


def p_values(best: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> dict[str, float | None]:
    """Holm's p of each other method against the best, paired by client; None where they share no seed."""
    raw = {label: paired_p(best, frame) for label, frame in others.items()}
    ascending = sorted((p, label) for label, p in raw.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(raw)
    largest = 0.0
    for number, (p, label) in enumerate(ascending):
        largest = max(largest, min(1.0, p * (len(ascending) - number)))
        adjusted[label] = largest
    return adjusted


def paired_p(first: pd.DataFrame, second: pd.DataFrame) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test over clients, of means over the seeds that both have."""
    from scipy.stats import wilcoxon

    seeds = set(first["seed"]) & set(second["seed"])
    if not seeds:
        return None
    means = [frame[frame["seed"].isin(seeds)].groupby("client")["accuracy"].mean() for frame in (first, second)]
    differences = (means[0] - means[1]).to_numpy()
    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def sentence(dataset: str, order: list[str], own_budget: pd.DataFrame, chance: Mapping[str, float | None]) -> str:
    """The result in words."""
    first, second = order[:2]
    gap = 100 * (own_budget.loc[first, "mean"] - own_budget.loc[second, "mean"])
    p = chance[second]
    cause = (
        "of another seed"
        if p is None
        else "which chance may explain"
        if p >= LEVEL
        else "which chance does not explain"
    )
    return (
        f"With the model that its own budget allows, a client on {dataset} gets most from {first}"
        f" ({own_budget.loc[first, 'percent']} % on average); {second} follows {gap:.1f} points behind, {cause}."
    )
