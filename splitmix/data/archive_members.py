"""The members of a zip or tar archive, one after another, without trusting what the archive says of itself."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from splitmix.data.limits import check_unpacked

STEP = 2**20  # bytes read at once
LONGEST_HEADER = 2**24  # bytes; a tar header of more is made to fill memory


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path, as the archive writes it.
        size: bytes, unpacked; no more come out.
        oddity: what it is if it is no plain file.
        open: opens it for reading, until the next member is asked for.
    """

    name: str
    size: int
    oddity: str | None
    open: Callable[[], IO[bytes]]


def members(archive: Path, file: BinaryIO) -> Iterator[Member]:
    """All members but folders.

    Raises:
        UserError: a tar archive unpacks to more than the limits.
        Exception: nearly any, on a damaged archive.
    """
    file.seek(0)
    start = file.read(512)
    file.seek(0)
    for magic, decompressed in (
        (b"\x1f\x8b", gzip.open),
        (b"BZh", bz2.open),
        (b"\xfd7zXZ\0", lzma.open),
    ):
        if start.startswith(magic):
            with decompressed(file) as stream:
                yield from _tar_members(Counted(archive, file, stream))
            return
    if start[257:262] == b"ustar":
        yield from _tar_members(Counted(archive, file, file))
    else:
        yield from _zip_members(file)


def _zip_members(file: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            oddity = "a link" if kind == stat.S_IFLNK else "no plain file" if kind not in (0, stat.S_IFREG) else None
            if not info.is_dir():
                yield Member(info.filename, info.file_size, oddity, lambda info=info: opened.open(info))  # type: ignore[misc]


def _tar_members(stream: Counted) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r:") as opened:  # type: ignore[call-overload]
        while (info := opened.next()) is not None:
            opened.members = []  # it would keep all of them
            if info.isdir():
                continue
            oddity = None if info.isreg() else "a link" if info.issym() or info.islnk() else "no plain file"
            if info.issparse():
                oddity = "a sparse file"
            yield Member(info.name, info.size, oddity, lambda info=info: opened.extractfile(info))  # type: ignore[misc]
        # To the end, where checksums stand.
        while stream.read(STEP):
            pass


class Counted:
    """A stream that only goes forward, and not beyond the limits on what an archive unpacks to."""

    def __init__(self, archive: Path, packed: BinaryIO, stream: Any):
        self.archive, self.packed, self.stream = archive, os.fstat(packed.fileno()).st_size, stream
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data: bytes = self.stream.read(size)
        self.position += len(data)
        check_unpacked(self.archive, self.packed, self.position)
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError("a member before its header")
        while self.position < position and self.read(min(STEP, position - self.position)):
            pass
