"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from splitmix.errors import UserError
from splitmix.files import without_links

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there
    fcntl = None  # type: ignore[assignment]

CLAIM = ".claim"
"""The file of a run folder that the process which trains there holds locked."""
PAUSE_S = 0.02
BUSY = (errno.EACCES, errno.EAGAIN)

held: set[Path] = set()
"""What this process holds. Closing any descriptor of a file would end a lock on it, so these are not opened again."""


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock file `path`, which is made if need be and stays.

    Processes that this one forks or starts do not hold it on. A file system without locks leaves it unguarded.

    Raises:
        Busy: another process held it for `wait_s` seconds.
        UserError: it cannot be written.
    """
    if fcntl is None:
        yield
        return
    name, deadline = path.resolve(), monotonic() + wait_s
    while name in held:  # by another thread
        pause(deadline)
    try:
        file = without_links(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    try:
        while not taken(file, fcntl.LOCK_EX):
            pause(deadline)
        held.add(name)
        yield
    finally:
        held.discard(name)
        os.close(file)


def pause(deadline: float) -> None:
    """Wait a moment; Busy after the deadline."""
    if monotonic() > deadline:
        raise Busy
    sleep(PAUSE_S)


def taken(file: int, kind: int) -> bool:
    """Take the lock of an open file if no other process holds it."""
    try:
        # Not flock, which a forked worker would hold on.
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in BUSY
    return True


def locked_while_open(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; false if another one holds it, in any process, or there are no locks.

    For a file that is opened, written and closed: any of its other descriptors may be closed meanwhile.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file; it is only read. Always true on a system without locks."""
    if fcntl is None or path.resolve() in held:
        return True
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not taken(file, fcntl.LOCK_SH)
    finally:
        os.close(file)
