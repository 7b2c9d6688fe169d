"""The closed-form inputs of the vector files: frozen NumPy RandomState streams, each seeded by its name."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


def stream(name: str) -> np.random.RandomState:
    """The stream of a name."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def param(name: str, shape: tuple[int, ...]) -> Array:
    """Initial value of a state-dict entry: its range depends on what kind of entry it is."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    fan_in_bound = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
    low, high = {"running_mean": (-0.3, 0.3), "running_var": (0.5, 1.5)}.get(leaf, (-fan_in_bound, fan_in_bound))
    if leaf == "weight" and len(shape) == 1:
        low, high = 0.5, 1.5
    return stream(name).uniform(low, high, shape).astype(np.float32)


def images(name: str, n: int, shape: tuple[int, ...]) -> Array:
    """Float32 images in [0, 1]."""
    return stream(name).uniform(0.0, 1.0, (n, *shape)).astype(np.float32)


def labels(name: str, n: int, classes: int = 10) -> Array:
    """Class indices."""
    return stream(name).randint(0, classes, n).astype(np.int64)


def probe(name: str, value: Array, k: int = 64) -> NDArray[np.float64]:
    """What a vector file keeps of an array: sum, L2 norm, and k entries at fixed places."""
    flat = np.asarray(value, np.float64).ravel()
    places = stream("probe/" + name).randint(0, flat.size, min(k, flat.size))
    return np.concatenate([[flat.sum(), np.sqrt(np.square(flat).sum())], flat[places]])
