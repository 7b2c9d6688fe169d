"""Unpacking archives of strangers: nothing leaves the target folder or fills the disk, no file is half-written."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from splitmix.data.archive_members import Member, members
from splitmix.data.limits import GIB, MEMBER, check_unpacked
from splitmix.errors import UserError
from splitmix.files import replacing
from splitmix.printing import excerpt
from splitmix.regular_files import open_regular

DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError
)  # fmt: skip
"""What zipfile, tarfile and the decompressors raise on damaged bytes, beside an OSError without a number."""

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Where a member goes below the target folder; None leaves it out."""


def unpack(archive: Path, target: Path, place: Place) -> int:
    """Unpack the files of a zip or tar archive that `place` wants; returns how many.

    All members are looked at before the first one is written.

    Raises:
        UserError: no such file, no archive or a damaged one, a member that would leave the folder or stands there
            twice, more than the limits allow, a full disk.
    """
    try:
        with open_regular(archive) as file:
            places = plan(archive, file, target, place)
            for member, where in zip(members(archive, file), places, strict=True):
                if where is not None:
                    _write(member, target / where)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"archive={archive}: {error.strerror}") from None
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"archive={archive}: cannot unpack it into {target} ({error.strerror})") from None
        raise UserError(
            f"archive={archive}: is no zip or tar archive or damaged ({excerpt(error)}); fetch it again"
        ) from None
    return sum(where is not None for where in places)


def plan(archive: Path, file: BinaryIO, target: Path, place: Place) -> list[PurePosixPath | None]:
    """Where each member goes, in order (UserError: a member or a sum that is refused)."""
    places: list[PurePosixPath | None] = []
    taken: set[PurePosixPath] = set()
    packed, unpacked, needed = os.fstat(file.fileno()).st_size, 0, 0
    for member in members(archive, file):
        where = place(_safe(archive, member))
        if where in taken:
            raise UserError(f"archive={archive}: its member {excerpt(where)} stands there twice; nothing unpacked")
        unpacked += member.size
        if member.size > MEMBER.value:
            raise MEMBER.refusal(
                f"archive={archive}: its member {excerpt(member.name)} takes {member.size / GIB:.1f} GiB"
            )
        check_unpacked(archive, packed, unpacked)
        if where is not None:
            taken.add(where)
            needed += member.size
        places.append(where)
    free = shutil.disk_usage(next(folder for folder in (target, *target.absolute().parents) if folder.is_dir())).free
    if needed > free:
        raise UserError(f"archive={archive}: needs {needed / GIB:.2f} GiB, {target} has {free / GIB:.2f} GiB free")
    return places


def below(names: tuple[str, ...]) -> Place:
    """Places every member from the first part of its path that is one of these names on; others are left out."""

    def place(path: PurePosixPath) -> PurePosixPath | None:
        starts = [number for number, part in enumerate(path.parts[:-1]) if part in names]
        return PurePosixPath(*path.parts[starts[0] :]) if starts else None

    return place


def _safe(archive: Path, member: Member) -> PurePosixPath:
    path = PurePosixPath(member.name.replace("\\", "/"))
    name = excerpt(member.name)
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in member.name:
        raise UserError(f"archive={archive}: its member {name} would leave the folder; it was not unpacked")
    if member.oddity:
        raise UserError(f"archive={archive}: its member {name} is {member.oddity}; it was not unpacked")
    return path


def _write(member: Member, where: Path) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    # Waiting for the disk would take longer than all else: archives have up to 10^6 small files.
    with member.open() as source, replacing(where, sync=False) as file:
        shutil.copyfileobj(source, file)
