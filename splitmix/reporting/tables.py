"""The tables that commands print."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from splitmix.printing import printable

UNKNOWN = "\u2013"
FIXED = "Fixed: SA with fixed batch-norm statistics, as deployed."
"""What a column `fixed` holds."""
FEW = 20
"""With fewer images of each client the worst and the best one are a matter of luck: an image is more than 5 points."""


@dataclass(frozen=True)
class WidthRow:
    """One width after training: accuracies in [0, 1], MACs per image, bytes per client and round each way.

    `fixed_sa` is the test SA with fixed batch-normalisation statistics. None is an unknown value.
    """

    width: float
    val_sa: float | None
    val_ra: float | None
    test_sa: float | None
    macs: float | None
    params: int | None
    bytes_per_round: int | None
    fixed_sa: float | None = None


@dataclass(frozen=True)
class TestRow:
    """One tested width and level of robustness under one attack: accuracy over clients, in [0, 1].

    `images` is the least number of images that a client was tested on; `fixed` is the mean with fixed
    batch-normalisation statistics, None where it was not measured.
    """

    __test__ = False

    width: float
    adv_lambda: float
    attack: str
    mean: float
    worst: float
    best: float
    images: int
    macs: float
    params: int
    fixed: float | None = None


def fewest_images(record: Mapping[str, Any], clients: Sequence[Mapping[str, Any]]) -> int:
    """The least number of images that a client of a test record was tested on (`test.max_images` gives all as many).

    Args:
        record, clients: of results.json.
    """
    share: int = record["n_images"] // max(1, len(clients))
    return min([share, *(client["n_test"] for client in clients)])


def few(images: int) -> str:
    """Why no worst and best client are shown, if so few images of a client are too few for that; else nothing."""
    if images >= FEW:
        return ""
    return f"worst and best client are left out: they would rest on {images} images each, less than {FEW}"


def width_table(rows: Sequence[WidthRow]) -> Table:
    """Accuracy and cost by width at the end of training."""
    robust = any(row.val_ra is not None for row in rows)
    words = " RA: robust accuracy, attacked through the adversarial branch." if robust else ""
    words += f" {FIXED} MACs per image. Bytes: one client of that budget, each way."
    table = _table(f"SA: standard accuracy, mean over clients.{words}")
    validated = ("val SA", "val RA") if robust else ("val SA",)
    for name in ("width", *validated, "test SA", "fixed", "MACs", "params", "bytes/round"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"×{row.width:g}",
            *(percent(value) for value in (row.val_sa, row.val_ra)[: len(validated)]),
            percent(row.test_sa),
            percent(row.fixed_sa),
            quantity(row.macs),
            quantity(row.params),
            quantity(row.bytes_per_round, "B"),
        )
    return table


def accuracy_table(rows: Sequence[TestRow]) -> Table:
    """Accuracy of the customised models by width."""
    images = min((row.images for row in rows), default=FEW)
    fixed = any(row.fixed is not None for row in rows)
    words = "Accuracy on the clients' test images (SA without an attack, RA under one): mean over clients"
    words += "." if few(images) else ", worst client, best client."
    notes = [FIXED] * fixed + ([f"The {few(images)}."] if few(images) else [])
    table = _table(" ".join([words, *notes]))
    means = ("mean", "fixed") if fixed else ("mean",)
    extremes = () if few(images) else ("worst", "best")
    for name in ("width", "λ", "attack", *means, *extremes, "MACs/\nimage", "param-\neters"):
        table.add_column(name, justify="right")
    for row in rows:
        accuracies = (*(row.mean, row.fixed)[: len(means)], *(row.worst, row.best)[: len(extremes)])
        asked = (f"×{row.width:g}", f"{row.adv_lambda:g}", row.attack)
        table.add_row(*asked, *map(percent, accuracies), quantity(row.macs), quantity(row.params))
    return table


def text_table(rows: Sequence[Sequence[str]], caption: str, words: int = 1) -> Table:
    """A table of ready text: its first row is the header, its first `words` columns stand left and may wrap."""
    table = _table(printable(caption))
    header, *body = [[printable(text) for text in row] for row in rows]
    for number, name in enumerate(header):
        table.add_column(
            name, justify="left" if number < words else "right", overflow="fold", no_wrap=number >= words > 0
        )
    for row in body:
        table.add_row(*row)
    return table


def profile_table(rows: Sequence[Mapping[str, Any]], batch_size: int) -> Table:
    """What customised models and clients cost, by width (rows of `splitmix.evaluation.profile`)."""
    table = _table(
        "MACs, parameters, ms (median; half of the passes took the times in brackets): the model of the width."
        " Bytes (each way, per round) and MACs of a training step: a client whose budget is the width."
    )
    latency, quartiles = f"ms per\n{batch_size} images", ("latency_low_s", "latency_high_s")
    for name in ("width", "MACs/\nimage", "parameters", latency, "bytes/\nround", "MACs/\ntraining step"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"×{row['width']:g}",
            quantity(row["macs"]),
            quantity(row["params"]),
            f"{milliseconds(row['latency_s'])} ({' to '.join(milliseconds(row[key]) for key in quartiles)})",
            quantity(row["bytes_per_round"], "B"),
            quantity(row["training_macs"]),
        )
    return table


def benchmark_table(workloads: Mapping[str, Mapping[str, Any]]) -> Table:
    """Seconds of a round by phase, packed and one lane at a time (records of `splitmix.federation.benchmark`)."""
    table = _table(
        "Seconds of a round (medians). Share: % of the rate of a large matrix product on the same threads.", 0
    )
    phases = ("data", "train", "merge", "evaluate", "total")
    for name in ("workload", "path", *phases, "speed-\nup", "lane\nsteps/s", "share"):
        table.add_column(name, justify="left" if name in ("workload", "path") else "right")
    for name, timed in workloads.items():
        for path in ("one_lane", "packed"):
            one = timed[path]
            seconds = (f"{one['seconds'][phase]:.2f}" for phase in phases)
            gain = f"{timed['speedup']:.2f}" if path == "packed" else ""
            words = path.replace("_", " ")
            table.add_row(
                name,
                words,
                *seconds,
                gain,
                f"{one['lane_steps_per_s']:.0f}",
                f"{100 * one['share_of_matrix_rate']:.0f}",
            )
    return table


class TableConsole(Console):
    """A console whose reader may have had enough: that is raised, as `print` does, where rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        error = sys.exc_info()[1]
        raise error if isinstance(error, BrokenPipeError) else BrokenPipeError


def print_table(table: Table, stream: TextIO | None = None) -> None:
    """Print to standard output, or `stream`, at most 100 columns wide (on a terminal: at most its width)."""
    # Brackets and colons are text: names may come from files.
    console = TableConsole(file=stream, markup=False, emoji=False)
    if console.is_terminal:
        console.width = min(100, console.width)
    else:
        console.width = 100
    console.print(table)


def milliseconds(seconds: float) -> str:
    """Seconds in ms, to a hundredth below 10 ms, else to a tenth."""
    return f"{1000 * seconds:.{2 if seconds < 0.01 else 1}f}"


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def quantity(number: float | None, unit: str = "") -> str:
    """A count with three digits, a decimal prefix and its unit."""
    if number is None:
        return UNKNOWN
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # Three digits would round 999.5 k to 1000 k: that is 1 M.
        if number >= 0.9995 * factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def _table(caption: str, padding: int = 1) -> Table:
    """An empty table; `padding` blanks stand on each side of a cell, beside one between columns."""
    return Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", padding=(0, padding))
