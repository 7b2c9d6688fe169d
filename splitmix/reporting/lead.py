"""The result of a comparison in a sentence: which method has the highest accuracy at which width, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitmix.reporting.cells import Cell, join
from splitmix.reporting.groups import Group

BySetting = Mapping[str, Mapping[float, Cell]]
"""Accuracy by method and width."""


@dataclass(frozen=True)
class Winner:
    """The highest accuracy at a width, among the methods that keep to every client's budget.

    Attributes:
        methods: one, or several that are equal as shown.
        second: the next method; None if there is none.
    """

    width: float
    methods: tuple[str, ...]
    cell: Cell
    second: str | None
    second_cell: Cell | None


def winner(groups: Sequence[Group], cells: BySetting, width: float) -> Winner | None:
    """The winner at a width; None where fewer than two methods can be compared."""
    rivals = {
        group.label: cells[group.label][width]
        for group in groups
        if width in cells[group.label] and not group.runs[0].over_budget(width)
    }
    if len(rivals) < 2:
        return None
    order = sorted(rivals, key=lambda label: -rivals[label].mean)
    best = rivals[order[0]]
    # What reads alike is equal: nobody could see why only one of two equal numbers is the highest.
    methods = tuple(label for label in order if rivals[label].percent == best.percent)
    second = next((label for label in order if label not in methods), None)
    return Winner(width, methods, best, second, None if second is None else rivals[second])


def sentences(groups: Sequence[Group], cells: BySetting, columns: Sequence[float], dataset: str) -> list[str]:
    """What the table of accuracy by width shows, in a few sentences, true of any mixture of runs.

    Args:
        columns: the widths of the table.
    """
    winners = [best for width in columns if (best := winner(groups, cells, width)) is not None]
    if not winners:
        return [*_alone(groups, cells, dataset)]
    by_methods: dict[tuple[str, ...], list[Winner]] = {}
    for best in winners:
        by_methods.setdefault(best.methods, []).append(best)
    clauses = []
    for methods, places in by_methods.items():
        verb = "has" if len(methods) == 1 else "have"
        clauses.append(f"{join(methods)} {verb} the highest at {join([_place(best) for best in places])}")
    compared = [cell for best in winners for cell in (best.cell, best.second_cell) if cell is not None]
    result = [f"Test SA on {dataset}: {'; '.join(clauses)}; {_seeds(compared)}."]
    return [" ".join([*result, *_over(groups, cells, columns)])]


def _place(best: Winner) -> str:
    """A width with the accuracy there and the distance to the next method."""
    text = f"×{best.width:g} ({best.cell.percent} %"
    if best.second_cell is None:
        return f"{text})"
    gap = 100 * (best.cell.mean - best.second_cell.mean)
    within = " within one standard deviation," if gap <= max(best.cell.bar, best.second_cell.bar) else ""
    return f"{text},{within} {gap:.1f} points above {best.second})"


def _alone(groups: Sequence[Group], cells: BySetting, dataset: str) -> list[str]:
    """Where nothing can be compared: what each method reaches at its ends."""
    clauses = []
    for group in groups[:3]:
        by_width = cells[group.label]
        if by_width:
            ends = dict.fromkeys((min(by_width), max(by_width)))
            numbers = join([f"{by_width[width].percent} % at ×{width:g}" for width in ends])
            share = group.runs[0].over_budget(max(by_width))
            over = f" (over the budget of {100 * share:.0f} % of the clients)" if share else ""
            clauses.append(f"{group.label} reaches {numbers}{over}, {_seeds([by_width[width] for width in ends])}")
    return [f"Test SA on {dataset}: {'; '.join(clauses)}."] if clauses else []


def _over(groups: Sequence[Group], cells: BySetting, columns: Sequence[float]) -> list[str]:
    """The numbers out of competition."""
    numbers = [
        f"{group.label} {cells[group.label][width].percent} % at ×{width:g}"
        for group in groups
        for width in columns
        if width in cells[group.label] and group.runs[0].over_budget(width)
    ]
    return [f"Out of competition, over the budget of some clients: {join(numbers)}."] if numbers else []


def _seeds(cells: Sequence[Cell]) -> str:
    """Over how many seeds these numbers are."""
    counts = sorted({len(cell.by_seed) for cell in cells})
    seeds = {tuple(sorted(cell.by_seed)) for cell in cells}
    if len(seeds) > 1:
        many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return f"over {many} seed{'' if counts[-1] == 1 else 's'} each, not the same for all"
    return f"means over {counts[0]} seeds" if counts[0] > 1 else f"a single seed ({next(iter(seeds))[0]})"
