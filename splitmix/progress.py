"""Progress over rounds: a rich bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Shows how far a run is; a context manager.

    Args:
        total: number of rounds.
        done: rounds already done (a resumed run).
        stream: where to write; standard output by default.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None):
        self.total, self.done = total, done
        self.stream = stream or sys.stdout
        self.first, self.start = done, perf_counter()
        self.bar: Bar | None = None

    def __enter__(self) -> Progress:
        if self.stream.isatty():
            self.bar = Bar(
                TextColumn("round"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=Console(file=self.stream),
                # rich forgets steps older than this; with its 30 s, slow rounds would never get an ETA.
                speed_estimate_period=float("inf"),
            )
            self.task = self.bar.add_task("", total=self.total, completed=self.done)
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, loss: float, accuracy: Mapping[str, float], seconds: float) -> None:
        """One more round is done.

        Args:
            loss: mean training loss.
            accuracy: validation accuracies of the full width in [0, 1], as far as measured: `sa`, `ra`.
            seconds: how long the round took.
        """
        self.done += 1
        words = f"loss {loss:.3f}" + "".join(f"  val {n.upper()} {100 * value:.1f} %" for n, value in accuracy.items())
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, description=words)
            return
        left = (perf_counter() - self.start) / (self.done - self.first) * (self.total - self.done)
        self.message(f"round {self.done}/{self.total}  {words}  {seconds:.1f} s  ETA {clock(left)}")

    def message(self, text: str) -> None:
        """Write one line, above the bar if there is one."""
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.stream, flush=True)


def clock(seconds: float) -> str:
    """A duration as m:ss, or h:mm:ss from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
