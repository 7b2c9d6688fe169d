"""Figures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from splitmix.files import write_atomically


def convergence_figure(path: Path, rounds: Sequence[int], accuracy: Mapping[float, Sequence[float]]) -> None:
    """Validation accuracy against rounds, one line per width, saved atomically as PNG.

    Args:
        rounds: 0-based numbers of the validated rounds.
        accuracy: values in [0, 1] by width, as long as `rounds`.

    Raises:
        UserError: the file cannot be written.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    # Viridis is ordered and colour-blind safe; its last fifth is too light on white.
    colours = matplotlib.colormaps["viridis"]
    for index, (width, values) in enumerate(sorted(accuracy.items())):
        colour = colours(0.8 * (len(accuracy) - 1 - index) / max(1, len(accuracy) - 1))
        marker = "o" if len(rounds) < 3 else None
        shown = [number + 1 for number in rounds]
        axes.plot(shown, [100 * value for value in values], color=colour, marker=marker, label=f"×{width:g}")
    axes.set_xlabel("round")
    axes.set_ylabel("validation SA (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    # Widest first, as the curves usually end; beside the axes, where it hides none of them.
    axes.legend(handles[::-1], labels[::-1], title="width", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_atomically(path, lambda file: figure.savefig(file, dpi=150, format="png"))
