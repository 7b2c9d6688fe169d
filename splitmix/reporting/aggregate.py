"""Many runs' results.json put together: accuracy by method and width, mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from splitmix.errors import UserError

DASH = "\u2013"


@dataclass(frozen=True)
class Cell:
    """Accuracies of one method at one width, in [0, 1], by seed."""

    by_seed: dict[int, float]

    @property
    def mean(self) -> float:
        return mean(self.by_seed.values())

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; not a number for a single one."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else math.nan

    def __str__(self) -> str:
        text = f"{100 * self.mean:.1f}"
        return text if math.isnan(self.std) else f"{text} ± {100 * self.std:.1f}"


@dataclass(frozen=True)
class WidthTable:
    """Final test accuracies (clean, best checkpoint) of many runs.

    Attributes:
        dataset: what all of them were trained on.
        widths: the columns.
        cells: by method and width; a method that trains a model per width (FedAvg) fills its row from several runs.
    """

    dataset: str
    widths: tuple[float, ...]
    cells: dict[str, dict[float, Cell]]

    def rows(self) -> list[list[str]]:
        """Header and rows as text."""
        header = ["method", *(f"×{width:g}" for width in self.widths)]
        return [header] + [
            [method, *(str(cells[width]) if width in cells else DASH for width in self.widths)]
            for method, cells in self.cells.items()
        ]

    def markdown(self) -> str:
        """As a Markdown table, accuracies in per cent."""
        header, *rows = self.rows()
        lines = [header, ["---"] * len(header), *rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def csv(self) -> str:
        """One line per method and width: mean, standard deviation, number of seeds."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["method", "width", "accuracy", "std", "seeds"])
        for method, cells in self.cells.items():
            for width, cell in cells.items():
                std = "" if math.isnan(cell.std) else f"{cell.std:.6f}"
                writer.writerow([method, f"{width:g}", f"{cell.mean:.6f}", std, len(cell.by_seed)])
        return text.getvalue()

    def missing(self) -> list[str]:
        """Which seeds a method lacks at a width that another seed of it has, in words."""
        found = []
        for method, cells in self.cells.items():
            seeds = {seed for cell in cells.values() for seed in cell.by_seed}
            for width, cell in cells.items():
                if lacking := sorted(seeds - cell.by_seed.keys()):
                    found.append(f"{method} ×{width:g} lacks seed {', '.join(map(str, lacking))}")
        return found


def width_accuracies(results: Sequence[dict[str, Any]], widths: Sequence[float] | None = None) -> WidthTable:
    """Aggregate finished runs.

    Args:
        results: contents of results.json; of two runs of one method, width and seed the later one counts.
        widths: columns; None are those that more than one method has (all, if there is one method).

    Raises:
        UserError: runs of different datasets, or none.
    """
    datasets = sorted({result["dataset"] for result in results})
    if len(datasets) != 1:
        raise UserError(f"runs: of the datasets {', '.join(datasets) or 'none'}; a table needs runs of a single one")
    models = {result["model"] for result in results}
    found: dict[str, dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for result in sorted(results, key=lambda result: result["started"]):
        method = result["algorithm"] if len(models) == 1 else f"{result['algorithm']} {result['model']}"
        for width, record in result["widths"].items():
            found[method][float(width)][result["seed"]] = record["sa"]
    if widths is None:
        count = Counter(width for by_width in found.values() for width in by_width)
        widths = [width for width, methods in count.items() if methods > 1 or len(found) == 1]
    columns = tuple(sorted(widths))
    rows = {
        method: {width: Cell(by_width[width]) for width in columns if width in by_width}
        for method, by_width in found.items()
    }
    return WidthTable(datasets[0], columns, {method: row for method, row in rows.items() if row})
