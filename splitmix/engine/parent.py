"""Ends a process when the one that started it is gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from threading import Thread
from time import sleep

SECONDS = 0.5
"""Between two looks at the parent."""


@cache
def end_with_parent(words: str) -> None:
    """From now on end this process, whatever it does, soon after the one that started it; it says `words` first.

    Called again with the same words it does nothing.
    """
    Thread(target=_watch, args=(os.getppid(), words), daemon=True).start()


def _watch(parent: int, words: str) -> None:
    while os.getppid() == parent:
        sleep(SECONDS)
    with suppress(OSError):
        print(f"splitmix: {words}", file=sys.stderr, flush=True)
    os._exit(1)
