"""Unpacking zip archives of strangers: nothing leaves the target folder, and no file is left half-written."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from splitmix.errors import UserError

DAMAGED = (zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, IndexError, ValueError)

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Where a member goes below the target folder; None leaves it out."""


def unpack(archive: Path, target: Path, place: Place) -> int:
    """Unpack the files of a zip archive that `place` wants; returns how many.

    Raises:
        UserError: no such file, no zip or a damaged one, a member that would leave the folder, a full disk.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = [(member, place(_safe(archive, member))) for member in opened.infolist() if not member.is_dir()]
            for member, where in wanted:
                if where is not None:
                    _write(opened, member, target / where)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"archive={archive}: {error.strerror}") from None
    except (zipfile.BadZipFile, *DAMAGED) as error:
        raise UserError(f"archive={archive}: is no zip archive or damaged ({error}); fetch it again") from None
    except OSError as error:
        raise UserError(f"archive={archive}: cannot unpack it into {target} ({error.strerror or error})") from None
    return sum(where is not None for _, where in wanted)


def below(names: tuple[str, ...]) -> Place:
    """Places every member from the first part of its path that is one of these names on; others are left out."""

    def place(path: PurePosixPath) -> PurePosixPath | None:
        starts = [number for number, part in enumerate(path.parts[:-1]) if part in names]
        return PurePosixPath(*path.parts[starts[0] :]) if starts else None

    return place


def _safe(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UserError(f"archive={archive}: its member {member.filename} would leave the folder; it was not unpacked")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"archive={archive}: its member {member.filename} is a link; it was not unpacked")
    return path


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: Path) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    beside = where.with_name(f".{where.name}.{os.getpid()}.tmp")
    try:
        with archive.open(member) as source, open(beside, "wb") as file:
            shutil.copyfileobj(source, file)
        os.replace(beside, where)
    finally:
        with suppress(OSError):
            beside.unlink()
