"""The tables that commands print."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from splitmix.printing import printable
from splitmix.runs.rows import TestRow, WidthRow

UNKNOWN = "\u2013"
FIXED = "Fixed: SA with fixed batch-norm statistics, as deployed."
"""What a column `fixed` holds."""
OPENED = "Backdoor: patched images of other classes that are taken for the attackers' class."
"""What a column `backdoor` holds."""
METRIC_NAMES = {
    "accuracy": "accuracy",
    "own_accuracy": "own classes",
    "balanced_accuracy": "balanced accuracy",
    "f1": "macro F1",
    "calibration_error": "ECE",
    "nll": "NLL",
}
"""What tables call the metrics of a test record, in the order of their columns."""
METRICS_SAID = (
    "Balanced accuracy, macro F1, ECE (expected calibration error, in %) and NLL (in nats): all test images together."
)
FEW = 20
"""With fewer images of each client the worst and the best one are a matter of luck: an image is more than 5 points."""


def few(images: int) -> str:
    """Why no worst and best client are shown, if so few images of a client are too few for that; else nothing."""
    if images >= FEW:
        return ""
    return f"worst and best client are left out: they would rest on {images} images each, less than {FEW}"


def width_table(rows: Sequence[WidthRow]) -> Table:
    """Accuracy and cost by width at the end of training."""
    robust = any(row.val_ra is not None for row in rows)
    caption = "SA: standard accuracy, mean over clients."
    caption += " RA: robust accuracy, attacked through the adversarial branch." if robust else ""
    caption += f" {FIXED} MACs per image. Bytes: one client of that budget, each way."
    validated = ["val SA", "val RA"] if robust else ["val SA"]
    table = [["width", *validated, "test SA", "fixed", "MACs", "params", "bytes/round"]]
    for row in rows:
        accuracies = [row.val_sa, *([row.val_ra] if robust else []), row.test_sa, row.fixed_sa]
        costs = [quantity(row.macs), quantity(row.params), quantity(row.bytes_per_round, "B")]
        table.append([f"×{row.width:g}", *map(percent, accuracies), *costs])
    return _table(table, caption)


def accuracy_table(rows: Sequence[TestRow], images: str = "test") -> Table:
    """Accuracy of the customised models by width, on the clients' `test` or `validation` images."""
    reason = few(min((row.images for row in rows), default=FEW))
    fixed, backdoor = (any(getattr(row, name) is not None for row in rows) for name in ("fixed", "backdoor"))
    caption = f"Accuracy on the clients' {images} images (SA without an attack, RA under one): mean over clients"
    caption += "." if reason else ", worst client, best client."
    caption += f" {FIXED}" if fixed else ""
    caption += f" {OPENED}" if backdoor else ""
    intervals = any(row.interval for row in rows)
    caption += " Interval: of the mean, 95 %, bootstrap over clients." if intervals else ""
    caption += f" The {reason}." if reason else ""
    # The accuracy of all images together would be a second mean beside that over clients.
    metrics = [name for name in METRIC_NAMES if name != "accuracy" and any(name in row.metrics for row in rows)]
    caption += f" {METRICS_SAID}" if metrics else ""
    each = not reason
    columns = {"mean": True, "interval": intervals, "fixed": fixed, "worst": each, "best": each, "backdoor": backdoor}
    chosen = [name for name, there in columns.items() if there]
    names = [METRIC_NAMES[name].replace(" ", "\n") for name in metrics]
    table = [["width", "λ", "attack", *chosen, *names, "MACs/\nimage", "param-\neters"]]
    for row in rows:
        accuracies = [between(row.interval) if name == "interval" else percent(getattr(row, name)) for name in chosen]
        tested = [f"×{row.width:g}", f"{row.adv_lambda:g}", row.attack]
        measured = [metric_text(name, row.metrics.get(name)) for name in metrics]
        table.append([*tested, *accuracies, *measured, quantity(row.macs), quantity(row.params)])
    return _table(table, caption, padding=0 if metrics else 1)


def profile_table(rows: Sequence[Mapping[str, Any]], batch_size: int) -> Table:
    """What customised models and clients cost, by width (rows of `splitmix.evaluation.profile`)."""
    caption = (
        "MACs, parameters, ms (median; half of the passes took the times in brackets): the model of the width."
        " Bytes (each way, per round) and MACs of a training step: a client whose budget is the width."
    )
    latency = f"ms per\n{batch_size} images"
    table = [["width", "MACs/\nimage", "parameters", latency, "bytes/\nround", "MACs/\ntraining step"]]
    for row in rows:
        median, low, high = (milliseconds(row[f"latency{part}_s"]) for part in ("", "_low", "_high"))
        costs = [quantity(row["macs"]), quantity(row["params"]), f"{median} ({low} to {high})"]
        training = [quantity(row["bytes_per_round"], "B"), quantity(row["training_macs"])]
        table.append([f"×{row['width']:g}", *costs, *training])
    return _table(table, caption)


def benchmark_table(workloads: Mapping[str, Mapping[str, Any]]) -> Table:
    """Seconds of a round by phase, packed and one lane at a time (records of `splitmix.benchmarks.workloads`)."""
    caption = "Seconds of a round (medians). Share: % of the rate of a large matrix product on the same threads."
    phases = ["data", "train", "merge", "evaluate", "total"]
    table = [["workload", "path", *phases, "speed-\nup", "lane\nsteps/s", "share"]]
    for name, timed in workloads.items():
        for path in ("one_lane", "packed"):
            record = timed[path]
            seconds = [f"{record['seconds'][phase]:.2f}" for phase in phases]
            gain = f"{timed['speedup']:.2f}" if path == "packed" else ""
            rates = [f"{record['lane_steps_per_s']:.0f}", f"{100 * record['share_of_matrix_rate']:.0f}"]
            table.append([name, path.replace("_", " "), *seconds, gain, *rates])
    return _table(table, caption, words=2, padding=0)


def text_table(rows: Sequence[Sequence[str]], caption: str, words: int = 1, last: bool = False) -> Table:
    """A table of text that may stem from a file: its first row is the header, its first `words` columns stand left.

    Args:
        last: the last column is of words too.
    """
    return _table([[printable(text) for text in row] for row in rows], printable(caption), words, last=last)


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


def verdict(passed: bool) -> str:
    """Of a check."""
    return "pass" if passed else "FAIL"


def between(interval: tuple[float, float] | None) -> str:
    """An interval of shares in [0, 1] as percentages."""
    return UNKNOWN if interval is None else f"{100 * interval[0]:.1f}\u2013{100 * interval[1]:.1f} %"


def metric_text(name: str, value: float | None) -> str:
    """A metric of a test record, without its unit: NLL in nats, all others in %."""
    if value is None:
        return UNKNOWN
    return f"{value:.3f}" if name == "nll" else f"{100 * value:.1f}"


def quantity(number: float | None, unit: str = "") -> str:
    """A count with three digits, a decimal prefix and its unit."""
    if number is None:
        return UNKNOWN
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # Three digits would round 999.5 k to 1000 k: that is 1 M.
        if number >= 0.9995 * factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def _table(rows: Sequence[Sequence[str]], caption: str, words: int = 0, padding: int = 1, last: bool = False) -> Table:
    """A table whose first row is the header.

    Args:
        words: columns that stand left and may wrap; without any every column may.
        padding: blanks on each side of a cell, beside one between columns.
        last: the last column stands left and may wrap, too.
    """
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", padding=(0, padding))
    header, *body = rows
    for number, name in enumerate(header):
        of_words = number < words or (last and number == len(header) - 1)
        justify: Any = "left" if of_words else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=words > 0 and not of_words)
    for row in body:
        table.add_row(*row)
    return table
