"""Randomness as an argument: every stream is a function of the seed and of what it is for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch


def _words(seed: int, keys: tuple[int | str, ...]) -> list[int]:
    return [seed, *(zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys)]


def rng(seed: int, *keys: int | str) -> np.random.Generator:
    """A NumPy generator of its own for `keys`, e.g. `rng(seed, "batches", round, client)`.

    Equal arguments give equal streams on every machine; different arguments give independent ones.
    """
    return np.random.default_rng(_words(seed, keys))


class LazyRngs(Sequence[np.random.Generator]):
    """Streams `rng(seed, *keys)`, each made when it is first asked for, since many are never used.

    A part of them, such as `streams[2:5]`, goes on with the same streams.

    Args:
        keys: of each stream.
    """

    def __init__(self, seed: int, keys: Sequence[tuple[int | str, ...]]):
        self.seed, self.keys = seed, keys
        self.numbers = range(len(keys))
        self.made: dict[int, np.random.Generator] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> np.random.Generator: ...

    @overload
    def __getitem__(self, index: slice) -> LazyRngs: ...

    def __getitem__(self, index: int | slice) -> np.random.Generator | LazyRngs:
        if isinstance(index, slice):
            part = LazyRngs(self.seed, self.keys)
            part.numbers, part.made = self.numbers[index], self.made
            return part
        number = self.numbers[index]
        if number not in self.made:
            self.made[number] = rng(self.seed, *self.keys[number])
        return self.made[number]


def torch_rng(seed: int, *keys: int | str) -> torch.Generator:
    """The same for PyTorch: a CPU generator of its own for `keys`."""
    state = np.random.SeedSequence(_words(seed, keys)).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))
