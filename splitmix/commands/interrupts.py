"""Ctrl-C stops a command once; more of them do not break into its putting things in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

PATIENCE_S = 10.0
"""Seconds after a Ctrl-C for which further ones are ignored."""


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first SIGINT raise KeyboardInterrupt, and later ones only where putting things in order takes long.

    It is for a process of our own: after a SIGINT it stays, so that none breaks into the end of the process either.
    Does nothing where SIGINT is ignored or handled by someone else already.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    ignored_until = 0.0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal ignored_until
        if monotonic() < ignored_until:
            return
        ignored_until = monotonic() + PATIENCE_S
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    yield
    if not ignored_until:
        signal.signal(signal.SIGINT, signal.default_int_handler)
