"""Memory that processes share, and pickles in which tensors that lie there travel as references to it."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import re
import tempfile
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor

from splitmix.models.network import Tensors

ALIGNMENT = 64
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ (\d+) +(/.*)")


@dataclass(frozen=True)
class Region:
    """Memory that another process can map.

    Attributes:
        number: tells it from all other regions of this process, past ones too.
        descriptor: of the open file behind it.
        start, end: its addresses in this process.
        offset: where in the file it starts.
        private: a file that others may know: writing to the memory must not change it.
    """

    number: int
    descriptor: int
    start: int
    end: int
    offset: int = 0
    private: bool = False


_numbers = count()
_regions: dict[int, Region] = {}


def shared_bytes(size: int) -> Tensor:
    """uint8 `[size]`, zero, that other processes can be given. No file that has a name, no limit but memory."""
    size = max(size, 1)
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("splitmix")
    else:  # not Linux: an unlinked file
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    memory = mmap.mmap(descriptor, size)
    tensor = torch.frombuffer(memory, dtype=torch.uint8)
    region = Region(next(_numbers), descriptor, tensor.data_ptr(), tensor.data_ptr() + size)
    _regions[region.number] = region
    weakref.finalize(memory, _forget, region)
    return tensor


def _forget(region: Region) -> None:
    del _regions[region.number]
    with suppress(OSError):
        os.close(region.descriptor)


def share(tensors: Sequence[Tensor]) -> None:
    """Move CPU tensors into shared memory, in place; those there already, or in an unchanged mapped file, stay."""
    with known_regions() as regions:
        left = [value for value in tensors if _region_of(value, regions) is None]
    if not left:
        return
    named = {str(number): value for number, value in enumerate(left)}
    memory = shared_bytes(bytes_needed(named))
    for value, place in zip(left, views(memory, named).values(), strict=True):
        place.copy_(value)
        value.set_(place)  # type: ignore[call-overload]


def bytes_needed(like: Mapping[str, Tensor]) -> int:
    """Room that `views` of such tensors takes."""
    return sum(padded(value.nbytes) for value in like.values())


def views(memory: Tensor, like: Mapping[str, Tensor]) -> Tensors:
    """Tensors of these names, shapes and types, laid out in `memory`, uint8 `[bytes_needed(like)]` or more."""
    ends = accumulate(padded(value.nbytes) for value in like.values())
    return {
        name: memory[end - padded(value.nbytes) :][: value.nbytes].view(value.dtype).view(value.shape)
        for (name, value), end in zip(like.items(), ends, strict=True)
    }


def padded(size: int) -> int:
    """So many bytes, rounded up to where the next tensor may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@contextmanager
def known_regions() -> Iterator[list[Region]]:
    """The memory that other processes can be given, their descriptors open meanwhile."""
    files = _mapped_files()
    try:
        yield [*_regions.values(), *files]
    finally:
        for region in files:
            os.close(region.descriptor)


def _mapped_files() -> list[Region]:
    """`.npy` files mapped into this process's memory that it has not written to (Linux; elsewhere none is known)."""
    regions: list[Region] = []
    header: re.Match[str] | None = None
    with suppress(OSError):
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if match := re.match(MAPPING, line):
                header = match if match[5].endswith(".npy") else None
            elif header and line.startswith("Anonymous:"):
                # Pages written to are copies of this process alone: then the file is not what the memory holds.
                if line.split()[1] == "0" and (descriptor := _opened(header[5], int(header[4]))) is not None:
                    start, end, offset = (int(header[number], 16) for number in (1, 2, 3))
                    regions.append(Region(next(_numbers), descriptor, start, end, offset, private=True))
                header = None
    return regions


def _opened(path: str, inode: int) -> int | None:
    """A descriptor of the file if it is still the one that was mapped."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    if os.fstat(descriptor).st_ino == inode:
        return descriptor
    os.close(descriptor)
    return None


def _region_of(value: Tensor, regions: Collection[Region]) -> Region | None:
    """The region that a tensor lies in, if it is a plain CPU tensor and lies in one."""
    if value.device.type != "cpu" or value.layout != torch.strided or value.requires_grad or value.numel() == 0:
        return None
    address = value.data_ptr()
    return next((region for region in regions if region.start <= address < region.end), None)


class Pickler(cloudpickle.Pickler):
    """Pickles for another interpreter, classes of `__main__` and notebooks included.

    Args:
        regions: tensors that lie in one of these become references; others are copied, without the rest of the
            storage that they are views of.

    Attributes:
        used: the regions that became references, by number.
    """

    def __init__(self, file: io.BytesIO, regions: Collection[Region]):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.regions = regions
        self.used: dict[int, Region] = {}

    def persistent_id(self, value: Any) -> Any:
        region = _region_of(value, self.regions) if isinstance(value, Tensor) else None
        if region is None:
            return None
        self.used[region.number] = region
        offset = value.data_ptr() - region.start + region.offset
        return region.number, offset, value.dtype, tuple(value.shape), value.stride()

    def reducer_override(self, value: Any) -> Any:
        if type(value) is Tensor and value.device.type == "cpu" and value.dtype in (torch.int64, torch.float32):
            return torch.from_numpy, (np.array(value.detach().numpy()),)
        return super().reducer_override(value)


@dataclass(frozen=True)
class Pickled:
    """A pickle, and the regions that it refers to."""

    data: bytes
    used: tuple[Region, ...]


def pickled(value: Any, regions: Collection[Region] = ()) -> Pickled:
    """A pickle in which tensors in these regions are references."""
    file = io.BytesIO()
    pickler = Pickler(file, regions)
    pickler.dump(value)
    return Pickled(file.getvalue(), tuple(pickler.used.values()))


class Unpickler(pickle.Unpickler):
    """Reads such pickles.

    Args:
        memory: the regions, mapped, by number.
    """

    def __init__(self, file: io.BytesIO, memory: Mapping[int, mmap.mmap]):
        super().__init__(file)
        self.memory = memory

    def persistent_load(self, reference: Any) -> Tensor:
        number, offset, dtype, shape, stride = reference
        last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        flat = torch.frombuffer(self.memory[number], dtype=dtype, count=last + 1, offset=offset)
        return flat.as_strided(shape, stride)


def unpickled(data: bytes, memory: Mapping[int, mmap.mmap]) -> Any:
    """The value of such a pickle, the regions being mapped."""
    return Unpickler(io.BytesIO(data), memory).load()


def mapped(descriptor: int, private: bool) -> mmap.mmap:
    """The whole of a region's file as memory."""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)
