"""Opening files that others made: only regular ones, since a pipe or a device would wait or never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from splitmix.errors import UserError
from splitmix.printing import excerpt

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> BinaryIO:
    """A regular file, or a link to one, opened for reading bytes.

    Raises:
        UserError: a pipe, device, socket or folder, or a name that no file can have.
        OSError: it is missing, or cannot be opened.
    """
    try:
        check_regular(path, os.stat(path).st_mode)
        # Not blocking: the name may have become that of a pipe since.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except UserError:
        raise
    except ValueError:  # a NUL, or text that no file system encodes
        raise UserError(f"{excerpt(path)}: no file can have this name") from None
    try:
        check_regular(path, os.fstat(descriptor).st_mode)
    except UserError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def check_regular(path: Path, mode: int) -> None:
    """Refuse what is no regular file (UserError says what it is)."""
    if not stat.S_ISREG(mode):
        raise UserError(f"{excerpt(path)} is {KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file")
