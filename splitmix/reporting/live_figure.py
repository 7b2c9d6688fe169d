"""A callback for `Federation.fit`: in a notebook a line of progress and a figure that grows, elsewhere plain lines."""

from __future__ import annotations

import io
import sys
from time import perf_counter
from typing import Any

from splitmix.federation.history import FitRound, History
from splitmix.progress import clock
from splitmix.reporting.figures import drawn_convergence
from splitmix.reporting.style import styled


class LiveFigure:
    """Shows how far a fit is, and validation SA against rounds: `federation.fit(callbacks=[LiveFigure()])`.

    Args:
        every: draw after every so many rounds, and after the last one; drawing takes about a tenth of a second.
    """

    def __init__(self, every: int = 1):
        self.every = every
        self.start = perf_counter()
        self.first: int | None = None
        self.handles: list[Any] = []

    def __call__(self, last: FitRound, history: History) -> None:
        done = last.state.round
        if self.first is None:
            self.first, self.start = done - 1, perf_counter() - sum(last.metrics.seconds.values())
        if done % self.every and done != history.total:
            return
        seconds = (perf_counter() - self.start) / (done - self.first) * (history.total - done)
        accuracies = "" if last.accuracy is None else f", validation SA {100 * last.accuracy:.1f} %"
        line = f"round {done}/{history.total}, loss {last.metrics.loss:.3f}{accuracies}, ETA {clock(seconds)}"
        if in_notebook():
            self.show(line, convergence_png(history))
        else:
            print(line, flush=True)

    def show(self, line: str, picture: bytes) -> None:
        """Put the line and the picture where the ones before are."""
        from IPython.display import Image, Pretty, display

        shown = [Pretty(line), Image(picture)]
        if self.handles:
            for handle, what in zip(self.handles, shown, strict=True):
                handle.update(what)
        else:
            self.handles = [display(what, display_id=True) for what in shown]


@styled
def convergence_png(history: History) -> bytes:
    """Validation SA against rounds, by width, as a picture."""
    validated = [(metrics.round, accuracy.mean()) for metrics, accuracy in history.rounds if accuracy is not None]
    widths = list(validated[0][1]) if validated else []
    curves = {width: [means[width] for _, means in validated] for width in widths}
    file = io.BytesIO()
    drawn_convergence([number for number, _ in validated], curves).savefig(file, format="png", dpi=150)
    return file.getvalue()


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, which can change what it has shown."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
