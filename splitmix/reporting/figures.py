"""The figure of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from splitmix.files import write_atomically
from splitmix.reporting.line_labels import LineEnd, label_ends
from splitmix.reporting.style import new_figure, ordered, png, spaced, styled


@styled
def convergence_figure(path: Path, rounds: Sequence[int], accuracy: Mapping[float, Sequence[float]]) -> None:
    """Validation accuracy against rounds, saved atomically as PNG: one line per width, of many widths four.

    Args:
        rounds: 0-based numbers of the validated rounds.
        accuracy: values in [0, 1] by width, as long as `rounds`.

    Raises:
        UserError: the file cannot be written.
    """
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    shown = [number + 1 for number in rounds]
    widths, ends = spaced(list(accuracy)), []
    for width, look in zip(widths, ordered(len(widths)), strict=True):
        percents = [100 * value for value in accuracy[width]]
        axes.plot(shown, percents, label=f"×{width:g}", markevery=max(1, len(rounds) // 8), **look.keywords())
        if percents:
            ends.append(LineEnd(shown[-1], percents[-1], f"×{width:g}", look.colour))
    axes.set_xlabel("round")
    axes.set_ylabel("validation SA (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    label_ends(figure, axes, ends)
    write_atomically(path, lambda file: png(figure, file))
