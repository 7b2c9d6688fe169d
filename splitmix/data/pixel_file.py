"""A file of uint8 pixels with checksums: written whole or not at all, verified when it is opened, then mapped."""

from __future__ import annotations

import errno
import io
import math
import os
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from splitmix.data.sources import Pixels
from splitmix.errors import UserError
from splitmix.files import replacing
from splitmix.locks import locked_while_open
from splitmix.regular_files import open_regular

CHUNK = 2**24
"""Bytes of one checksum; several threads work on several of them."""
CANNOT_RESERVE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system that cannot reserve room answers."""


def write_pixels(path: Path, shape: tuple[int, ...], images: Iterable[Pixels]) -> None:
    """Write `images`, which are `shape[0]` arrays `shape[1:]`, in NumPy's format with the checksums after the pixels.

    Written as a file and not through a mapping, where a full disk would kill the process. The room is reserved first,
    so that a disk that is too small is known before any work is done.

    Raises:
        OSError: a full disk, a folder that cannot be written; no file stays.
        Exception: what `images` raises; no file stays.
    """
    head, size = header(shape), math.prod(shape)
    layout = checksums_format(size)
    remove_abandoned(path)
    with replacing(path) as file:
        locked_while_open(file)
        reserve(file, len(head) + size + struct.calcsize(layout))
        file.write(head)
        for image in images:
            file.write(np.ascontiguousarray(image).data)
        file.flush()
        file.write(struct.pack(layout, *checksums(file, len(head), size)))


def remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of `path`; one that still writes, on another machine too, holds a lock."""
    for old in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError, UserError), open_regular(old) as file:
            if locked_while_open(file):
                old.unlink()


def read_pixels(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """The pixels mapped into memory; None if there is no such file, or its header, size or a checksum is wrong."""
    head, size = header(shape), math.prod(shape)
    layout = checksums_format(size)
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != len(head) + size + struct.calcsize(layout):
                return None
            if file.read(len(head)) != head:
                return None
            file.seek(len(head) + size)
            if list(struct.unpack(layout, file.read())) != checksums(file, len(head), size):
                return None
            # Copy on write: PyTorch wants writable memory, and nobody writes.
            return np.memmap(file, np.uint8, "c", len(head), shape)
    except (OSError, UserError):
        return None


def checksums(file: IO[bytes], start: int, size: int) -> list[int]:
    """A CRC-32 of every chunk of `size` bytes from `start` on."""

    def checksum(offset: int) -> int:
        return zlib.crc32(os.pread(file.fileno(), min(CHUNK, size - offset), start + offset))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # checksums leave Python's lock
        return list(pool.map(checksum, range(0, size, CHUNK)))


def header(shape: tuple[int, ...]) -> bytes:
    """The start of a file in NumPy's format of a uint8 array."""
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return start.getvalue()


def checksums_format(size: int) -> str:
    """How the checksums of `size` pixels are stored: four bytes each, little-endian."""
    return f"<{-(-size // CHUNK)}I"


def reserve(file: IO[bytes], size: int) -> None:
    """Take the room on the disk, where the file system can (OSError: there is not enough)."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in CANNOT_RESERVE:
                raise
