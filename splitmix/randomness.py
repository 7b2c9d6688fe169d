"""Randomness as an argument: every stream is a function of the seed and of what it is for."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def _words(seed: int, keys: tuple[int | str, ...]) -> list[int]:
    return [seed, *(zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys)]


def rng(seed: int, *keys: int | str) -> np.random.Generator:
    """A NumPy generator of its own for `keys`, e.g. `rng(seed, "batches", round, client)`.

    Equal arguments give equal streams on every machine; different arguments give independent ones.
    """
    return np.random.default_rng(_words(seed, keys))


def torch_rng(seed: int, *keys: int | str) -> torch.Generator:
    """The same for PyTorch: a CPU generator of its own for `keys`."""
    state = np.random.SeedSequence(_words(seed, keys)).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))
