"""What datasets on disk share: domain order, assembling splits, checks of arrays, and the message of missing data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from splitmix.data.dataset import ImageSet
from splitmix.errors import UserError
from splitmix.printing import excerpt

Pixels = NDArray[np.uint8]
LARGEST = 4096
"""Pixels of a side."""


def rotated(names: Sequence[str], domain_order: int) -> tuple[str, ...]:
    """The base order of domains, rotated left; UserError for an order that does not exist."""
    if not 0 <= domain_order < len(names):
        raise UserError(f"dataset.domain_order={domain_order}: give a number from 0 to {len(names) - 1}")
    return (*names[domain_order:], *names[:domain_order])


def expanded(path: str) -> Path:
    """A path whose `~` is the home folder, an unknown user's `~` staying (UserError: no folder can have the name)."""
    if "\0" in path:
        raise UserError(f"dataset.root={excerpt(path)}: no folder can have this name; give another")
    return Path(os.path.expanduser(path))


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a name that none can have is none."""
    return os.path.isdir(path)


def require_folder(root: str | None, needed: Sequence[str], mend: str) -> Path:
    """The data's folder, which holds what is needed; UserError says what is missing and how to get it."""
    if not root:
        raise UserError(f"dataset.root is not set: {mend}")
    folder = expanded(root)
    for name in needed:
        if not os.path.exists(folder / name):
            raise UserError(f"dataset.root={excerpt(root)}: {excerpt(folder / name)} is missing; {mend}")
    return folder


def check_image_size(size: int) -> None:
    """Raise UserError for a size that no image has."""
    if not 1 <= size <= LARGEST:
        raise UserError(f"dataset.image_size={size}: give a number of pixels from 1 to {LARGEST}")


def no_archives(name: str, archives: Sequence[Path]) -> None:
    """Refuse archives for a dataset that comes in none."""
    if archives:
        raise UserError(f"archive={archives[0]}: dataset={name} comes in no archive; leave the key out")


def check_arrays(path: Path, images: Any, labels: Any, shape: tuple[int, ...], classes: int) -> tuple[Pixels, Any]:
    """Images uint8 `[n, *shape]` and labels int64 `[n]` of a file; UserError names the file and what is wrong."""
    labels = label_array(path, labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as SVHN's own files have them
    with np.errstate(invalid="ignore"):  # a label that is not a number
        if labels.dtype.kind == "f" and (labels == labels.astype(np.int64)).all():
            labels = labels.astype(np.int64)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != shape:
        got = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
        raise UserError(f"{path}: images must be uint8 [n, {', '.join(map(str, shape))}], found {got}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise UserError(f"{path}: {len(images)} images, but labels of shape {list(labels.shape)} ({labels.dtype})")
    if not len(labels):
        raise UserError(f"{path}: holds no image")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(f"{path}: labels must lie from 0 to {classes - 1}, found {labels.min()} to {labels.max()}")
    return images, labels.astype(np.int64)


def label_array(path: Path, labels: Any) -> Any:
    """Labels of a file as an array (UserError: a list of other things than numbers)."""
    if isinstance(labels, np.ndarray):
        return labels
    if not isinstance(labels, list | tuple):
        raise UserError(f"{path}: labels must be a list or an array of whole numbers, found {type(labels).__name__}")
    for number, label in enumerate(labels):
        # Nested or mixed lists make arrays of nearly any shape, type and size.
        if type(label) not in (int, float):
            raise UserError(f"{path}: labels must be whole numbers, but number {number} is a {type(label).__name__}")
    return np.asarray(labels)


def mapped_sets(pixels: Pixels, labels: Mapping[tuple[str, str], Sequence[int]]) -> tuple[ImageSet, ImageSet]:
    """Train and test set over one array of images, without copying it.

    Args:
        pixels: uint8 `[n, 3, h, w]`, all train images domain after domain, then all test images.
        labels: by split (`train` before `test`) and domain, in that order.
    """
    sets, start = [], 0
    for split in ("train", "test"):
        parts = [np.asarray(values, np.int64) for (name, _), values in labels.items() if name == split]
        counts = tuple(len(values) for values in parts)
        images = torch.from_numpy(pixels[start : start + sum(counts)])
        sets.append(ImageSet(images, torch.from_numpy(np.concatenate(parts)), counts))
        start += sum(counts)
    return sets[0], sets[1]
