"""How far λ in situ turns against rounds: what RA it wins and what SA it costs from 0 to 1, at kept checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from splitmix.evaluation.intervals import bootstrap_interval
from splitmix.reporting.attacked import attacks_of, pairs
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.escape import stem
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.report_table import Table
from splitmix.reporting.seeds import INTERVALS, MINUS, over_seeds
from splitmix.reporting.style import Palette, error_lines, legend_above, new_figure, styled
from splitmix.runs.run import Run

PLACE = ["method", "round", "width"]
ROWS = {"SA": ("sa_0", "sa_1", "sa_cost"), "RA": ("ra_0", "ra_1", "ra_gain")}
"""The measurements in the rows of a table: at λ 0, at λ 1, and what turning it costs or wins."""
COLUMNS = [column for columns in ROWS.values() for column in columns]


def make(comparison: Comparison) -> Part:
    """A table and a figure for each attack that some kept round was tested under."""
    tables: list[Table] = []
    drawings = []
    runs = [run for run in comparison.runs if kept_rounds(run)]
    for name, attack in attacks_of(runs, tests_of_rounds).items():
        lines = [line for group in grouped(runs) for line in lines_of(group, attack)]
        if not lines:
            continue
        number = f"_{len(tables) + 1}" if tables else ""
        images = " or ".join(map(str, sorted({line["images"] for line in lines})))
        cells = {column: over_seeds(measured(lines, column), PLACE) for column in COLUMNS}
        tables.append(table_of(f"dial{number}", comparison.dataset, name, images, cells))
        caption = (
            f"What turning λ from 0 to 1 wins in RA under {name} (above) and costs in SA (below) on"
            f" {comparison.dataset}, in points, against rounds; bars: standard deviation over seeds, shaded: 95 %"
            " interval of one seed."
        )
        drawings.append(Drawing(stem(f"dial{number}"), caption, figure_of(cells, comparison.palette)))
    if not tables:
        raise CannotShow(
            "no kept round was tested at λ 0 and 1, both clean and attacked: splitmix train checkpoint_rounds=[10,20],"
            " then splitmix test run=<folder> checkpoint=10 'attack=[none,linf_pgd]'"
        )
    return Part("dial", "How far λ turns", tables, drawings)


def kept_rounds(run: Run) -> list[int]:
    """The rounds whose checkpoints were tested."""
    return sorted({int(record["checkpoint"]) for record in run.records if record["checkpoint"].isdecimal()})


def tests_of_rounds(run: Run) -> list[dict[str, Any]]:
    """The tests of all kept rounds."""
    return [record for number in kept_rounds(run) for record in run.tests(checkpoint=str(number))]


def lines_of(group: Group, attack: Any) -> Iterator[dict[str, Any]]:
    """A line for each run, kept round and width that was tested at both ends: each measurement by client."""
    for run in group.runs:
        for number in kept_rounds(run):
            both = pairs(run, attack, str(number))
            for width in sorted({width for width, _ in both}):
                if (width, 0.0) not in both or (width, 1.0) not in both:
                    continue
                (sa_0, ra_0), (sa_1, ra_1) = (
                    [np.array(record["per_client"]) for record in both[width, level]] for level in (0.0, 1.0)
                )
                yield {
                    "method": group.label, "seed": run.seed, "round": number, "width": width,
                    "images": both[width, 1.0][1]["n_images"],
                    "sa_0": sa_0, "sa_1": sa_1, "sa_cost": sa_0 - sa_1,
                    "ra_0": ra_0, "ra_1": ra_1, "ra_gain": ra_1 - ra_0,
                }  # fmt: skip


def measured(lines: Iterable[Mapping[str, Any]], column: str) -> Iterator[dict[str, Any]]:
    """One measurement of each line: its mean over clients and the interval of that."""
    for line in lines:
        low, high = bootstrap_interval(line[column], line["seed"])
        place = {key: line[key] for key in (*PLACE, "seed")}
        yield {**place, "sa": line[column].mean(), "low": low, "high": high}


def table_of(name: str, dataset: str, attack: str, images: str, cells: Mapping[str, pd.DataFrame]) -> Table:
    """A row for each method, round and width."""
    [first, *_] = cells.values()
    rows = [
        [
            str(place.method),
            str(place.round),
            f"×{place.width:g}",
            name,
            *(cells[key]["text"][place.Index] for key in keys),
        ]
        for place in first.itertuples()
        for name, keys in ROWS.items()
    ]
    numbers = first[[*PLACE, "seeds"]].copy()
    for column, frame in cells.items():
        numbers[[f"{column}_{part}" for part in ("mean", "std", "low", "high")]] = frame[["mean", "std", "low", "high"]]
    caption = (
        f"SA and RA under {attack} in % on {dataset} at both ends of λ in situ, and what turning it costs in SA and"
        " wins in RA, by round of one training; mean ± standard deviation over seeds."
    )
    notes = [f"on {images} test images, all clients together", INTERVALS]
    return Table(name, caption, [*PLACE, "", "λ 0", "λ 1", "lost, won"], rows, numbers, words=4, notes=notes)


@styled
def figure_of(cells: Mapping[str, pd.DataFrame], palette: Palette) -> Figure:
    """RA won and SA lost against rounds: a line for each method and width."""
    figure = new_figure(3.4)
    panels = figure.subplots(2, 1, sharex=True)
    differences = {"ra_gain": f"RA(1) {MINUS} RA(0)", "sa_cost": f"SA(0) {MINUS} SA(1)"}
    for axes, (column, words) in zip(panels, differences.items(), strict=True):
        frame = cells[column]
        names = [f"{line.method} ×{line.width:g}" for line in frame.itertuples()]
        frame = frame.assign(method=pd.Categorical(names, dict.fromkeys(names)))
        error_lines(axes, frame, "round", palette)
        for method, part in frame.groupby("method", observed=True):
            colour = palette[str(method)].colour
            axes.fill_between(part["round"], 100 * part["low"], 100 * part["high"], color=colour, alpha=0.15)
        axes.axhline(0, color="0.4", linewidth=0.6)
        axes.set_ylabel(words)
    panels[1].set_xlabel("round")
    legend_above(figure, panels[0])
    return figure
