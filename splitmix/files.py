"""Writing files so that a crash, a kill, a full disk or a symbolic link never costs anyone a file."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from splitmix.errors import UserError

TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp", re.DOTALL)
"""Names of files that are being written, with the number of the process that writes them."""
SUB_FOLDERS = (".hydra", "checkpoints", "figures")
"""Folders of a run folder that only splitmix writes to."""


def without_links(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file for writing, as the `opener` of `open`: a descriptor of a regular file that is no symbolic link.

    Raises:
        UserError: it is a symbolic link, a pipe or a device.
        OSError: it cannot be opened.
    """
    if os.path.islink(path):
        raise UserError(f"{path} is a symbolic link, which splitmix does not write through: remove it")
    # The link may come between the two; a pipe without a reader must not wait for one.
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no regular file: remove it")
    return descriptor


def refuse_links(folder: Path) -> None:
    """Refuse a run folder in which a symbolic link would lead what we write elsewhere; the folder may be one itself.

    Raises:
        UserError: an entry of the folder, or of one of its own sub-folders, is a symbolic link.
    """
    for place in (folder, *(folder / name for name in SUB_FOLDERS)):
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise UserError(
                        f"{entry.path} is a symbolic link, and splitmix writes through none in a run folder: put the"
                        " file or folder itself there"
                    )


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file of a run or a report through `replacing`.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file stays.
    """
    try:
        with replacing(path) as file:
            write(file)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another folder"
        ) from error


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """A new file beside `path`, which takes its name at the end: a reader, or a crash, sees the old one or the new one.

    Args:
        sync: wait for the disk; without that a file can be empty after a power failure.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file stays, and no half of a new one does.
    """
    # No other process or thread takes this name, on no other machine that shares the folder either.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}.tmp")
    raw: NotingFile | None = None
    try:
        raw = NotingFile(beside, "x+b")
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except RuntimeError as error:
        # torch.save reports a failing write as an internal error of its zip writer, without a reason.
        if raw is not None and raw.error is not None:
            raise raw.error from error
        raise
    finally:
        # Whatever stopped it, Ctrl-C too, leaves no half of a file.
        with suppress(OSError):
            beside.unlink()


class NotingFile(io.FileIO):
    """An unbuffered file that remembers the error that a write met, for callers who lose it.

    Attributes:
        error: that error.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def remove_temporary(folder: Path) -> None:
    """Remove what killed processes were writing in a run folder."""
    for place in (folder, *(folder / name for name in SUB_FOLDERS)):
        with suppress(OSError):
            for path in place.iterdir():
                match = TEMPORARY.fullmatch(path.name)
                if match and not path.is_dir() and not at_work(int(match[1])):
                    with suppress(OSError):
                        path.unlink()


def at_work(process: int) -> bool:
    """Whether another process of this number runs. Our own number on a file is that of an earlier process."""
    if process == os.getpid():
        return False
    if os.name != "posix":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


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
        return Path(os.path.expanduser(folder))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "splitmix"
