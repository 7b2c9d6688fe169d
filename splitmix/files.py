"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from splitmix.errors import UserError


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file beside `path`, then rename it: a reader, or a crash, sees the old file or the new one.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        # torch.save reports a failing write as an internal error of its zip writer, without a reason.
        reason = (error.strerror if isinstance(error, OSError) else None) or "is the disk full?"
        raise UserError(f"cannot write {path}: {reason}; make room or choose another folder") from error


def output_file(out: str | None) -> Path | None:
    """The file that the key `out` names; UserError if no file can be made there."""
    if out is None:
        return None
    path = Path(out)
    if path.is_dir():
        raise UserError(f"out={out}: is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"out={out}: the folder {path.parent} does not exist")
    return path


def cache_folder(root: str | None = None) -> Path:
    """Where what was made once is kept.

    That is `root`, else `$SPLITMIX_CACHE`, else `$XDG_CACHE_HOME/splitmix`, else `~/.cache/splitmix`.
    """
    if folder := root or os.environ.get("SPLITMIX_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "splitmix"
