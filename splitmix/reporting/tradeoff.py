"""Draws robust accuracy (RA) against standard accuracy (SA) of one run: a line per width, points labelled with λ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from splitmix.files import write_atomically

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
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["viridis"]
    for index, (width, points) in enumerate(sorted(curves.items())):
        colour = colours(0.8 * (len(curves) - 1 - index) / max(1, len(curves) - 1))
        marker = "osD^vP*X"[index % 8]
        across, up = ([100 * point[axis] for point in points] for axis in (1, 2))
        axes.plot(across, up, color=colour, marker=marker, markersize=4, label=f"×{width:g}")
        for number, (level, _, _) in enumerate(points):
            offset = (4, 4) if number % 2 == 0 else (4, -9)
            axes.annotate(f"{level:g}", (across[number], up[number]), offset, textcoords="offset points", fontsize=7)
    axes.set_xlabel("SA (%)")
    axes.set_ylabel(f"RA under {attack} (%)")
    axes.margins(0.08)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        labels[::-1],
        title="width, λ at points",
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    write_atomically(path, lambda file: figure.savefig(file, dpi=150, format="png"))
