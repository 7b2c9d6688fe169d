"""Starts the other ranks of this machine, if need be before PyTorch is imported here, so that all do so at once.

This file imports no PyTorch.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from splitmix.engine.rank_places import RankPlace, environment_of, rank_place

BOOT = "import sys; sys.path[:] = {path!r}; from splitmix.engine.follower import run; run()"
STORE = "store"
"""The file, in a folder of this user's alone, that the ranks of one machine meet at."""

Processes = list[subprocess.Popen[bytes]]
_early: list[tuple[int, str, Processes]] = []
_owner = os.getpid()


def start_early(devices: int, num_nodes: int) -> None:
    """Start the ranks of one machine that `start_here` will be asked for, unless a launcher has, or none are needed."""
    if devices > 1 and num_nodes == 1 and not _early:
        place = rank_place()
        if place is None or not place.external:
            _early.append((devices, *start_here(devices)))


def start_here(devices: int) -> tuple[str, Processes]:
    """The folder and the processes of a run on this machine alone: those that were started early, or new ones."""
    while _early:
        number, folder, children = _early.pop()
        if number == devices and all(child.poll() is None for child in children):
            return folder, children
        end(children, folder)
    folder = tempfile.mkdtemp(prefix="splitmix-ranks-")
    return folder, start_local(RankPlace("parent", 0, store=str(Path(folder) / STORE)), devices, 1)


@atexit.register
def end_early() -> None:
    """End the ranks that were never asked for anything."""
    while _early and _owner == os.getpid():  # not a forked copy
        _, folder, children = _early.pop()
        end(children, folder)


def end(children: Sequence[subprocess.Popen[bytes]], folder: str | None = None) -> None:
    """End processes, whatever they do, and remove the folder that they met in."""
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def start_local(first: RankPlace, devices: int, num_nodes: int) -> Processes:
    """Start the other ranks of this machine, as fresh interpreters that take their work from rank zero."""
    path = [place for place in sys.path if isinstance(place, str)]
    command = [sys.executable, "-c", BOOT.format(path=path)]
    children = []
    for local_rank in range(1, devices):
        place = RankPlace("parent", first.rank + local_rank, local_rank, devices * num_nodes, devices, first.store)
        children.append(
            subprocess.Popen(
                command,
                env={**os.environ, **environment_of(place)},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for rank zero to handle
            )
        )
    return children
