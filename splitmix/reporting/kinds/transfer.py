"""Attacks made at one width and level, tested at another: a heat map, and a table of the worst case of each target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from splitmix.reporting.attacked import Attack, attacks_of
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.escape import stem
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.report_table import Table
from splitmix.reporting.seeds import over_seeds
from splitmix.reporting.style import COLUMN, new_figure, styled
from splitmix.runs.run import Run

MOST_WRITTEN = 12
"""Sources up to which every number of the map is written into it."""
TARGET = ["width", "adv_lambda"]
SOURCE = ["source_width", "source_adv_lambda"]


def make(comparison: Comparison) -> Part:
    """A table and a heat map for each method and attack."""
    tables: list[Table] = []
    drawings = []
    for group in grouped([run for run in comparison.runs if any(record.get("transfer") for record in run.tests())]):
        for name, attack in attacks_of(group.runs).items():
            lines = lines_of(group, attack)
            if not lines:
                continue
            number = f"_{len(tables) + 1}" if tables else ""
            cells = over_seeds(lines, [*TARGET, *SOURCE])
            where = f"{group.label} on {comparison.dataset} under {name}"
            tables.append(table_of(f"transfer{number}", where, group, attack, cells))
            caption = (
                f"RA in % of {where}: images attacked at one width and λ (across), predicted at another (down);"
                " frames: attacked and predicted at the same."
            )
            drawings.append(Drawing(stem(f"transfer{number}"), caption, heat_map(cells)))
    if not tables:
        raise CannotShow(
            "no attack was transferred: splitmix test run=<folder> attack=[none,linf_pgd] test.transfer=true"
        )
    return Part("transfer", "Attacks made at another width and level", tables, drawings)


def records_of(run: Run, attack: Attack) -> list[dict[str, Any]]:
    """The tests under this attack with a transfer: at each width and level the one on the most images."""
    records = [
        record
        for record in run.tests(bn="trained") + run.tests(bn="post") + run.tests(bn="static")
        if record.get("transfer") and tuple(sorted(record["attack"].items())) == attack
    ]
    records.sort(key=lambda record: (record["bn"] == "trained", record["n_images"]))
    return list({(record["width"], record["adv_lambda"]): record for record in records}.values())


def lines_of(group: Group, attack: Attack) -> list[dict[str, Any]]:
    """RA of every target on the images of every source, a line each."""
    lines = []
    for run in group.runs:
        for record in records_of(run, attack):
            target, accuracies = {key: record[key] for key in TARGET}, record["transfer"]
            for width, level, accuracy in zip(
                accuracies["widths"], accuracies["adv_lambdas"], accuracies["accuracy"], strict=True
            ):
                source = dict(zip(SOURCE, (width, level), strict=True))
                lines.append({**target, **source, "seed": run.seed, "sa": accuracy})
    return lines


def table_of(name: str, where: str, group: Group, attack: Attack, cells: pd.DataFrame) -> Table:
    """Of every target RA under its own attack, under the strongest made elsewhere, and under all of them at once."""
    worst = over_seeds(
        (
            {**{key: record[key] for key in TARGET}, "seed": run.seed, "sa": record["transfer"]["worst"]}
            for run in group.runs
            for record in records_of(run, attack)
        ),
        TARGET,
    ).set_index(TARGET)
    rows, numbers = [], []
    for target, part in cells.groupby(TARGET):
        own_attack = (part[SOURCE].to_numpy() == np.array(target)).all(1)
        elsewhere = part[~own_attack].sort_values("mean", kind="stable").head(1)
        strongest = [place_name(*source) for source in elsewhere[SOURCE].itertuples(index=False)]
        rows.append(
            [
                f"×{target[0]:g}", f"{target[1]:g}", *(part[own_attack]["text"] if own_attack.any() else [""]),
                *(elsewhere["text"] if strongest else [""]), *(strongest or [""]), worst.loc[target, "text"],
            ]
        )  # fmt: skip
        lines = part[[*TARGET, *SOURCE, "mean", "std", "seeds"]].assign(worst_of_all=worst.loc[target, "mean"])
        numbers += lines.to_dict("records")
    header = ["width", "λ", "own attack", "strongest other", "made at", "all together"]
    counts = sorted({record["n_images"] for run in group.runs for record in records_of(run, attack)})
    caption = (
        f"RA in % of {where}: under the attack made against the model itself, under the strongest made against another"
        " width or λ, and under all of them, where an image counts that none of them fools; mean ± standard deviation"
        " over seeds."
    )
    notes = [f"on {' or '.join(map(str, counts))} test images, all clients together"]
    return Table(name, caption, header, rows, numbers, words=2, notes=notes)


def place_name(width: float, adv_lambda: float) -> str:
    """A width and a level in a few letters."""
    return f"×{width:g} λ {adv_lambda:g}"


@styled
def heat_map(cells: pd.DataFrame) -> Figure:
    """RA by target (down) and source (across), dark where it is low; mean over seeds."""
    matrix = 100 * cells.pivot_table("mean", TARGET, SOURCE, observed=True)
    size = len(matrix.columns)
    figure = new_figure(COLUMN * min(1.0, 0.35 + len(matrix) / max(size, 1) * 0.6))
    axes = figure.add_subplot()
    shades = axes.imshow(matrix, cmap="viridis", aspect="auto")
    axes.grid(False)
    for number, places in ((0, matrix.index), (1, matrix.columns)):
        names = [place_name(*place) for place in places]
        setter = axes.set_yticks if number == 0 else axes.set_xticks
        setter(range(len(names)), names, fontsize=7 if size <= MOST_WRITTEN else 5)
    axes.tick_params(axis="x", rotation=90)
    axes.set(xlabel="attacked at", ylabel="predicted at")
    write_numbers(axes, matrix)
    figure.colorbar(shades, label="RA (%)")
    return figure


def write_numbers(axes: Axes, matrix: pd.DataFrame) -> None:
    """The numbers of a small map, and frames around the models' own attacks."""
    middle = (matrix.min().min() + matrix.max().max()) / 2
    sources: Sequence[Any] = list(matrix.columns)
    for row, (target, values) in enumerate(matrix.iterrows()):
        if target in sources:
            corner = (sources.index(target) - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=1.2))
        for column, value in enumerate(values) if len(sources) <= MOST_WRITTEN else ():
            shade = "white" if value < middle else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5, color=shade)
