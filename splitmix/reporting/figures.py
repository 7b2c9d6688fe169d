"""The figure of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from splitmix.reporting.labels import Label, label_ends
from splitmix.reporting.style import Look, new_figure, ordered, save, spaced, styled
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results_file import read_results

CONVERGENCE = "figures/convergence.png"
"""The figure, in a run folder."""


def draw_convergence(folder: Path) -> Path:
    """Draw the validation accuracy of a finished run from its metrics.csv and results.json.

    Returns:
        The file written, `figures/convergence.png` of the run folder.

    Raises:
        UserError: a file of the run cannot be read, or the figure cannot be written.
    """
    widths = sorted(float(width) for width in read_results(folder / "results.json")["widths"])
    rows = [row for row in read_metrics(folder / "metrics.csv") if all(f"val_sa/{width}" in row for width in widths)]
    figure = folder / CONVERGENCE
    figure.parent.mkdir(exist_ok=True)
    curves = {width: [row[f"val_sa/{width}"] for row in rows] for width in widths}
    convergence_figure(figure, [int(row["round"]) for row in rows], curves)
    return figure


def convergence_figure(path: Path, rounds: Sequence[int], accuracy: Mapping[float, Sequence[float]]) -> None:
    """`drawn_convergence`, saved atomically as PNG.

    Raises:
        UserError: the file cannot be written.
    """
    save(drawn_convergence(rounds, accuracy), path)


@styled
def drawn_convergence(rounds: Sequence[int], accuracy: Mapping[float, Sequence[float]]) -> Figure:
    """Validation accuracy against rounds: one line per width, of many widths four.

    Args:
        rounds: 0-based numbers of the validated rounds.
        accuracy: values in [0, 1] by width, as long as `rounds`.
    """
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    widths, shown = spaced(list(accuracy)), [number + 1 for number in rounds]
    curves = {f"×{width:g}": [100 * value for value in accuracy[width]] for width in widths}
    ends = [
        draw_curve(axes, name, shown, percents, look)
        for (name, percents), look in zip(curves.items(), ordered(len(widths)), strict=True)
    ]
    label_ends(figure, axes, ends if shown else [])
    return figure


def draw_curve(axes: Axes, name: str, rounds: Sequence[int], percents: Sequence[float], look: Look) -> Label:
    """Validation SA against rounds counted from 1; the name for its end (not a number if it is empty)."""
    # Few markers, so that a long run stays readable.
    axes.plot(rounds, percents, label=name, markevery=max(1, len(rounds) // 8), **look.keywords())
    axes.set_xlabel("round")
    axes.set_ylabel("validation SA (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    x, y = (rounds[-1], percents[-1]) if len(rounds) else (math.nan, math.nan)
    return Label(x, y, name, look.colour)
