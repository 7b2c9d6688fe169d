"""The figure of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from splitmix.files import write_atomically
from splitmix.reporting.style import legend_above, new_figure, ordered, png, styled


@styled
def convergence_figure(path: Path, rounds: Sequence[int], accuracy: Mapping[float, Sequence[float]]) -> None:
    """Validation accuracy against rounds, one line per width, saved atomically as PNG.

    Args:
        rounds: 0-based numbers of the validated rounds.
        accuracy: values in [0, 1] by width, as long as `rounds`.

    Raises:
        UserError: the file cannot be written.
    """
    figure = new_figure(2.1)
    axes = figure.add_subplot()
    shown = [number + 1 for number in rounds]
    for (width, values), look in zip(sorted(accuracy.items()), ordered(len(accuracy)), strict=True):
        every = max(1, len(rounds) // 8)
        axes.plot(shown, [100 * value for value in values], label=f"×{width:g}", markevery=every, **look.keywords())
    axes.set_xlabel("round")
    axes.set_ylabel("validation SA (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    # Widest first, as the curves usually end.
    legend_above(figure, axes, title="width", reverse=True)
    write_atomically(path, lambda file: png(figure, file))
