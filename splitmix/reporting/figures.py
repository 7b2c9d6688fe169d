"""Figures of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure


def convergence_figure(path: Path, rounds: Sequence[int], accuracy: Mapping[float, Sequence[float]]) -> None:
    """Validation accuracy against rounds, one line per width, saved atomically as PNG.

    Args:
        rounds: 0-based numbers of the validated rounds.
        accuracy: values in [0, 1] by width, as long as `rounds`.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    # Viridis is ordered and colour-blind safe; its last fifth is too light on white.
    colours = matplotlib.colormaps["viridis"]
    for index, (width, values) in enumerate(sorted(accuracy.items())):
        colour = colours(0.8 * (1 - index / max(1, len(accuracy) - 1)))
        marker = "o" if len(rounds) < 3 else None
        shown = [number + 1 for number in rounds]
        axes.plot(shown, [100 * value for value in values], color=colour, marker=marker, label=f"×{width:g}")
    axes.set_xlabel("round")
    axes.set_ylabel("validation SA (%)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], title="width", frameon=False)
    beside = path.with_name(f".{path.name}.tmp")
    figure.savefig(beside, dpi=150, format="png")
    os.replace(beside, path)
