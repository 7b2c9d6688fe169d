"""The result of a comparison in a sentence: which method has the highest accuracy at which width, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from splitmix.reporting.seeds import join


class Winner(NamedTuple):
    """The highest accuracy at a width, among the methods that keep to every client's budget.

    Attributes:
        methods: one, or several that are equal as shown.
        cell: the accuracy, a row of the frame.
        second: that of the next method; None if there is none.
    """

    methods: tuple[str, ...]
    cell: Any
    second: Any


def winner(cells: pd.DataFrame, width: float) -> Winner | None:
    """The winner at a width; None where fewer than two methods can be compared.

    Args:
        cells: accuracy by `method` and `width`, with the share of clients `over_budget`.
    """
    rivals = cells[(cells["width"] == width) & (cells["over_budget"] == 0)]
    rows = list(rivals.sort_values("mean", ascending=False, kind="stable").itertuples())
    if len(rows) < 2:
        return None
    # What reads alike is equal: nobody could see why only one of two equal numbers is the highest.
    methods = tuple(row.method for row in rows if row.percent == rows[0].percent)
    return Winner(methods, rows[0], next((row for row in rows if row.method not in methods), None))


def sentences(cells: pd.DataFrame, columns: Sequence[float], dataset: str) -> list[str]:
    """What the table of accuracy by width shows, in a few sentences, true of any mixture of runs.

    Args:
        columns: the widths of the table.
    """
    winners = [best for width in columns if (best := winner(cells, width)) is not None]
    if not winners:
        return [f"Test SA on {dataset}: {'; '.join(_alone(cells))}."] if len(cells) else []
    places: dict[tuple[str, ...], list[str]] = {}
    for best in winners:
        places.setdefault(best.methods, []).append(_place(best))
    clauses = [
        f"{join(methods)} {'has' if len(methods) == 1 else 'have'} the highest at {join(words)}"
        for methods, words in places.items()
    ]
    seeds = _seeds(cell.seeds for best in winners for cell in (best.cell, best.second) if cell is not None)
    over = [
        f"{row.method} {row.percent} % at ×{row.width:g}"
        for row in cells.itertuples()
        if row.over_budget and row.width in columns
    ]
    more = f" Out of competition, over the budget of some clients: {join(over)}." if over else ""
    return [f"Test SA on {dataset}: {'; '.join(clauses)}; {seeds}.{more}"]


def _place(best: Winner) -> str:
    """A width with the accuracy there and the distance to the next method."""
    cell, second = best.cell, best.second
    text = f"×{cell.width:g} ({cell.percent} %"
    if second is None:
        return f"{text})"
    gap = 100 * (cell.mean - second.mean)
    within = " within one standard deviation," if gap <= max(cell.bar, second.bar) else ""
    return f"{text},{within} {gap:.1f} points above {second.method})"


def _alone(cells: pd.DataFrame) -> list[str]:
    """Where nothing can be compared: what each of the first methods reaches at its ends."""
    clauses = []
    for method, part in list(cells.groupby("method", observed=True))[:3]:
        rows = list(part.itertuples())
        ends = rows[:1] + rows[1:][-1:]
        over = (
            f" (over the budget of {100 * ends[-1].over_budget:.0f} % of the clients)" if ends[-1].over_budget else ""
        )
        numbers = join([f"{row.percent} % at ×{row.width:g}" for row in ends])
        clauses.append(f"{method} reaches {numbers}{over}, {_seeds(row.seeds for row in ends)}")
    return clauses


def _seeds(lists: Iterable[str]) -> str:
    """Over how many seeds these numbers are."""
    different = set(lists)
    counts = sorted({len(seeds.split()) for seeds in different})
    if len(different) > 1:
        many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return f"over {many} seed{'' if counts[-1] == 1 else 's'} each, not the same for all"
    return f"means over {counts[0]} seeds" if counts[0] > 1 else f"a single seed ({min(different)})"
