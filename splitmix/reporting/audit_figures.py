"""Figures of an audit with an attack: prediction against reconstruction, and the pictures side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from splitmix.files import write_atomically

ROWS = 6
"""Images shown side by side, at most."""


def draw_agreement(attacked: Sequence[Any], levels: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Reconstruction error over the error predicted for its noise, a colour for each level; stopped ones are hollow."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, level in enumerate(levels):
        rank = "" if level["spearman"] is None else f", rank correlation {level['spearman']:.2f}"
        colour, label = f"C{number}", f"sigma {level['sigma']:.1e}{rank}"
        for stopped, face in ((False, colour), (True, "none")):
            results = [one.result for one in attacked if one.level == level["level"]]
            some = [result for result in results if (result.converged is False) == stopped]
            axes.loglog(
                [result.predicted for result in some],
                [result.rmse for result in some],
                "o",
                color=colour,
                markerfacecolor=face,
                markersize=5,
                label="_" if stopped else label,
            )
    ends = [min(one.result.predicted for one in attacked), max(one.result.predicted for one in attacked)]
    axes.plot(ends, ends, color="grey", linewidth=1, label="as predicted")
    if any(one.result.converged is False for one in attacked):
        axes.plot([], [], "o", color="grey", markerfacecolor="none", markersize=5, label="stopped at a kink")
    axes.set_xlabel("predicted error per pixel")
    axes.set_ylabel("error of the reconstruction per pixel")
    axes.legend(fontsize=8)
    return _save(figure, path)


def draw_pictures(attacked: Sequence[Any], path: Path) -> Path:
    """True images, and their reconstructions at rising noise, one image a row."""
    names = list(dict.fromkeys(one.name for one in attacked))[:ROWS]
    levels = sorted({one.level for one in attacked})
    figure = Figure(figsize=(1.4 * (len(levels) + 1), 1.5 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(levels) + 1, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        mine = {one.level: one for one in attacked if one.name == name and one.draw == 0}
        pictures = [mine[levels[0]].truth, *(mine[level].picture for level in levels)]
        titles = ["true", *(f"sigma {mine[level].result.sigma:.0e}" for level in levels)]
        for axes, picture, title in zip(row, pictures, titles, strict=True):
            shown = picture.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy()
            axes.imshow(shown, vmin=0, vmax=1, cmap="gray")
            axes.set_title(title, fontsize=7)
            axes.set_axis_off()
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
    return path
