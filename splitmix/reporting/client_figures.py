"""Figures of a federation's clients: which classes they hold, how many images, which budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from splitmix.reporting.style import COLUMN, new_figure, save, shortened, styled

MOST_TICKS = 25


@styled
def class_figure(path: Path, counts: NDArray[np.int64], clients: Sequence[str], classes: Sequence[str]) -> None:
    """Heat map of training images by client (row) and class (column), saved atomically as PNG.

    Args:
        counts: `[clients, classes]`.

    Raises:
        UserError: the file cannot be written.
    """
    rows, columns = counts.shape
    figure = new_figure(min(1.2 + 0.09 * rows, 9), min(max(COLUMN, 1.6 + 0.16 * columns), 9))
    axes = figure.add_subplot()
    image = axes.imshow(counts, aspect="auto", cmap="viridis", interpolation="nearest", vmin=0)
    axes.set_xticks(range(columns), [shortened(name) for name in classes], rotation=90 if columns > 12 else 45)
    every = -(-rows // MOST_TICKS)
    axes.set_yticks(range(0, rows, every), list(clients)[::every])
    axes.grid(visible=False)
    axes.set(xlabel="class", ylabel="client (domain-number)")
    figure.colorbar(image, label="training images")
    save(figure, path)


@styled
def size_figure(
    path: Path, sizes: NDArray[np.int64], budgets: Sequence[float], clients: Sequence[str], domains: Sequence[str]
) -> None:
    """Images and budget of every client, one bar each, saved atomically as PNG.

    Args:
        sizes: `[clients, 3]`: training, validation and test images.
        budgets: largest width that each can train.
        domains: domain of each client.

    Raises:
        UserError: the file cannot be written.
    """
    n = len(clients)
    figure = new_figure(3.2, min(max(COLUMN, 1.2 + 0.07 * n), 9))
    upper, lower = figure.subplots(2, 1, sharex=True)
    colours = matplotlib.colormaps["viridis"]([0.15, 0.5, 0.8])
    bottom = np.zeros(n)
    for column, name in enumerate(("training", "validation", "test")):
        upper.bar(range(n), sizes[:, column], bottom=bottom, width=0.8, color=colours[column], label=name)
        bottom = bottom + sizes[:, column]
    upper.set_ylabel("images")
    upper.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    lower.bar(range(n), list(budgets), width=0.8, color=colours[0])
    every = -(-n // MOST_TICKS)
    lower.set_xticks(range(0, n, every), list(clients)[::every], rotation=90)
    lower.set(xlabel="client (domain-number)", ylabel="budget (width)", ylim=(0, 1.05))
    for axes in (upper, lower):
        axes.grid(axis="x", visible=False)
        for number in range(1, n):
            if domains[number] != domains[number - 1]:
                axes.axvline(number - 0.5, color="0.7", linewidth=0.8)
    save(figure, path)
