"""The one style of all figures: a paper's column width, small type, colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from splitmix.files import write_atomically
from splitmix.reporting.escape import one_line

COLUMN = 3.3
"""Inches of a paper's column: figures are drawn at this width, so that their type stays 7 to 8 points."""

SETTINGS: Any = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7.5, "legend.title_fontsize": 7.5,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "lines.linewidth": 1.2, "lines.markersize": 4,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.grid": True, "grid.alpha": 0.3,
    "grid.linewidth": 0.5, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "legend.handlelength": 2.2, "legend.columnspacing": 1.2, "savefig.dpi": 300,
    "pdf.fonttype": 42, "text.parse_math": False,  # names may come from files
}  # fmt: skip

# Okabe and Ito's palette without black and without its yellow, which is too light on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (2.5, 1)))
LEGEND_ROW = 0.15  # inches
LETTERS_PER_LINE = 52  # of a legend across a column

styled = matplotlib.rc_context(SETTINGS)
"""For a function that draws or saves, as its decorator."""


@dataclass(frozen=True)
class Look:
    """How one method is drawn: by colour, and by marker and line for print in black and white."""

    colour: Any
    marker: str
    line: Any

    def keywords(self) -> dict[str, Any]:
        """For `Axes.plot` and `Axes.errorbar`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


class Palette(dict[str, Look]):
    """A look for each label: the same one in every figure that shares the palette."""

    def __missing__(self, label: str) -> Look:
        n = len(self)
        return self.setdefault(label, Look(*(looks[n % len(looks)] for looks in (COLOURS, MARKERS, LINES))))


def ordered(count: int) -> list[Look]:
    """Looks of things that have an order, such as widths: dark for the last, never too light on white."""
    colours = matplotlib.colormaps["viridis"]
    shades = [0.8 * (count - 1 - index) / max(1, count - 1) for index in range(count)]
    return [
        Look(colours(shade), MARKERS[i % len(MARKERS)], LINES[(count - 1 - i) % len(LINES)])
        for i, shade in enumerate(shades)
    ]


def dark(colour: Any) -> tuple[float, ...]:
    """The colour for letters: darker than for lines, so that small type stays readable on white."""
    return tuple(0.72 * part for part in to_rgb(colour))


def new_figure(height: float = 2.3, width: float = COLUMN) -> Figure:
    """An empty figure, sizes in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def error_lines(axes: Axes, cells: Any, x: str, looks: Any, **keywords: Any) -> None:
    """A line with error bars for each method, in per cent.

    Args:
        cells: a pandas frame of `over_seeds`, with the columns `method` and `x`.
        looks: the look of each method.
    """
    for method, part in cells.groupby("method", observed=True):
        look = {**looks[method].keywords(), "elinewidth": 0.7, "capsize": 1.5, **keywords}
        axes.errorbar(part[x], 100 * part["mean"], part["bar"], label=method, **look)


def legend_above(figure: Figure, axes: Axes) -> None:
    """The labels of `axes` above the figure, in as many columns as fit; the figure grows by as much."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    labels = [shortened(name, LETTERS_PER_LINE - 8) for name in names]
    columns = max(1, min(len(labels), LETTERS_PER_LINE // (max(map(len, labels)) + 7)))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * rows)
    # Even rows look better than a full one and a rest.
    figure.legend(handles, labels, ncols=-(-len(labels) // rows), loc="outside upper center")


def shortened(text: str, most: int = 14) -> str:
    """Text on one line of at most so many letters."""
    text = one_line(text)
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def spaced(values: Sequence[float], most: int = 4) -> list[float]:
    """At most so many of these positive values, ascending, from the least to the greatest in about equal ratios."""
    ascending = sorted(values)
    if len(ascending) <= most or ascending[0] <= 0:
        return ascending[-most:]
    ratio = (ascending[-1] / ascending[0]) ** (1 / (most - 1))
    targets = [ascending[0] * ratio**number for number in range(most)]
    return sorted({min(ascending, key=lambda value: abs(value - target)) for target in targets})


@styled
def save(figure: Figure, path: Path, file_format: str = "png") -> None:
    """Write a figure (UserError if it cannot be)."""
    # Without its date the same figure is the same file.
    metadata = {"CreationDate": None} if file_format == "pdf" else None
    write_atomically(path, lambda file: figure.savefig(file, format=file_format, metadata=metadata))
