"""One number of a table: the mean and standard deviation of what several seeds gave."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, TypeVar

MINUS = "\u2212"
Key = TypeVar("Key")


@dataclass(frozen=True)
class Cell:
    """Accuracies of one method in one place, in [0, 1], by seed."""

    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        return mean(self.by_seed.values())

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; not a number for a single one."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else math.nan

    @property
    def percent(self) -> str:
        """The mean in per cent, as it is shown."""
        return f"{100 * self.mean:.1f}"

    @property
    def bar(self) -> float:
        """The deviation in per cent, for an error bar; 0 for a single seed."""
        return 0.0 if math.isnan(self.std) else 100 * self.std

    def __str__(self) -> str:
        return self.percent if math.isnan(self.std) else f"{self.percent} ± {100 * self.std:.1f}"

    def record(self) -> dict[str, Any]:
        """For a line of a CSV file."""
        return {"mean": self.mean, "std": self.std, "seeds": " ".join(map(str, sorted(self.by_seed)))}


def cell_text(cell: Cell | None) -> str:
    """A cell in words, nothing where there is none."""
    return "" if cell is None else str(cell)


def join(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def signed(number: float, digits: int = 1) -> str:
    """A difference with its sign."""
    text = f"{abs(number):,.{digits}f}"
    return text if not float(text.replace(",", "")) else f"{'+' if number > 0 else MINUS}{text}"


def missing_seeds(cells: Iterable[tuple[str, str, Cell]]) -> list[str]:
    """Which seeds a cell lacks that another one of the table has, in words.

    Args:
        cells: method, place (such as a width), and the cell. A method that lacks the seeds everywhere is named once.
    """
    listed = list(cells)
    seeds = {seed for *_, cell in listed for seed in cell.by_seed}
    lacking: dict[tuple[int, ...], dict[str, list[str]]] = {}
    for method, place, cell in listed:
        if absent := tuple(sorted(seeds - set(cell.by_seed))):
            lacking.setdefault(absent, {}).setdefault(method, []).append(place)
    count = Counter(method for method, *_ in listed)
    notes = []
    for absent, methods in lacking.items():
        told = [
            f"{method}{'' if len(places) == count[method] else ' at ' + ', '.join(places)}"
            for method, places in methods.items()
        ]
        notes.append(f"no seed {', '.join(map(str, absent))}: {'; '.join(told)}")
    return notes


def collected(values: Iterable[tuple[Key, int, float]]) -> dict[Key, Cell]:
    """Cells from triples of place, seed and accuracy."""
    found: dict[Key, dict[int, float]] = {}
    for key, seed, value in values:
        found.setdefault(key, {})[seed] = value
    return {key: Cell(by_seed) for key, by_seed in found.items()}
