"""Draws robust accuracy (RA) against standard accuracy (SA) of one run: a line per width, λ at the points of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitmix.files import write_atomically
from splitmix.reporting.cells import Cell
from splitmix.reporting.joint_figure import figure_of
from splitmix.reporting.robust import Point
from splitmix.reporting.style import png

Curves = Mapping[float, Sequence[tuple[float, float, float]]]
"""By width: λ, SA and RA of every point, in the order of λ; accuracies in [0, 1]."""


def draw_tradeoffs(records: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw every attack of these test records that has a clean record beside it, where there are several levels.

    Args:
        records: of one checkpoint under one set of test settings, as results.json holds them.

    Returns:
        The files written: `tradeoff_<attack>.png`.

    Raises:
        UserError: a file cannot be written.
    """
    accuracy = {
        (record["attack"]["name"], record["width"], record["adv_lambda"]): record["accuracy"] for record in records
    }
    levels = sorted({level for _, _, level in accuracy})
    written = []
    for attack in dict.fromkeys(name for name, _, _ in accuracy):
        curves: dict[float, list[tuple[float, float, float]]] = defaultdict(list)
        for width in sorted({width for _, width, _ in accuracy}):
            for level in levels:
                clean, attacked = accuracy.get(("none", width, level)), accuracy.get((attack, width, level))
                if clean is not None and attacked is not None:
                    curves[width].append((level, clean, attacked))
        if attack != "none" and any(len(points) > 1 for points in curves.values()):
            folder.mkdir(exist_ok=True)
            written.append(folder / f"tradeoff_{attack}.png")
            tradeoff_figure(written[-1], curves, attack)
    return written


def tradeoff_figure(path: Path, curves: Curves, attack: str) -> None:
    """One line per width through its levels of robustness, saved atomically as PNG."""
    drawn = {
        width: [Point(level, Cell({0: clean}), Cell({0: attacked})) for level, clean, attacked in points]
        for width, points in sorted(curves.items())
    }
    figure = figure_of(drawn, attack)
    write_atomically(path, lambda file: png(figure, file))
