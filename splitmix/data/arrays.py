"""A dataset from arrays in memory: images, labels and perhaps domains, split into training and test images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.table import ONE_DOMAIN, set_aside
from splitmix.errors import UserError

CHANNELS = (1, 3)
"""Numbers of channels by which the layout of images is told: grey and colour."""

Array = NDArray[Any]


def from_arrays(
    images: Any,
    labels: Any,
    domains: Any,
    test_fraction: float,
    classes: Sequence[str] | None,
    name: str,
    seed: int,
) -> Dataset:
    """A dataset of images and labels in memory; see `Dataset.from_arrays`."""
    pixels = pixel_array(images)
    numbers, class_names = label_numbers(column("labels", labels, len(pixels)), classes)
    of_domains = [ONE_DOMAIN] * len(pixels) if domains is None else column("domains", domains, len(pixels)).tolist()
    domain_names = tuple(dict.fromkeys(str(value) for value in of_domains))
    owner = np.array([domain_names.index(str(value)) for value in of_domains])
    splits = set_aside(numbers, owner, domain_names, test_fraction, seed, "test_fraction")
    train, test_set = (image_set(pixels, numbers, parts) for parts in splits)
    dataset = Dataset(name, domain_names, class_names, train, test_set)
    dataset.check()
    return dataset


def pixel_array(images: Any) -> NDArray[np.uint8]:
    """Images as uint8 `[n, channels, h, w]`.

    Raises:
        UserError: another number of dimensions, no place for channels, values that are no pixels.
    """
    try:
        array = np.asarray(images.detach().cpu() if isinstance(images, torch.Tensor) else images)
    except ValueError:
        raise UserError("images: they have several sizes; resize them to one") from None
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in CHANNELS and array.shape[3] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or 0 in array.shape or array.shape[1] not in CHANNELS:
        raise UserError(
            f"images have the shape {list(np.shape(images))}: give [n, h, w], [n, h, w, channels] or [n, channels, h,"
            " w], of 1 or 3 channels and none of them 0"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "fiu":
        raise UserError(f"images are {array.dtype}: give uint8 from 0 to 255, or floats from 0 to 1")
    low, high, most = float(array.min()), float(array.max()), 1.0 if array.dtype.kind == "f" else 255
    if not (math.isfinite(low) and math.isfinite(high) and low >= 0 and high <= most):
        raise UserError(
            f"images are {array.dtype} from {low:g} to {high:g}: give uint8 from 0 to 255, or floats from 0 to 1"
        )
    scaled = (array * 255).round() if array.dtype.kind == "f" else array
    return np.ascontiguousarray(scaled.astype(np.uint8))


def column(key: str, values: Any, count: int) -> Array:
    """One value for each image (UserError)."""
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.shape != (count,):
        raise UserError(f"{key} have the shape {list(array.shape)}: give one for each of the {count} images")
    return array


def label_numbers(labels: Array, classes: Sequence[str] | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices `[n]`, and the names of the classes.

    Whole numbers are indices; texts are names, sorted where `classes` does not order them.

    Raises:
        UserError: labels that are neither, or a name that is not among the classes.
    """
    if labels.dtype.kind in "iu":
        names = tuple(classes) if classes else tuple(str(number) for number in range(int(labels.max()) + 1))
        return labels.astype(np.int64), names
    texts = [str(label) for label in labels.tolist()]
    if labels.dtype.kind not in "UO" or not all(isinstance(label, str) for label in labels.tolist()):
        raise UserError(f"labels are {labels.dtype}: give whole numbers or names")
    names = tuple(classes) if classes else tuple(sorted(set(texts)))
    if unknown := sorted(set(texts) - set(names)):
        raise UserError(f"labels: {unknown[0]} is not among the classes {', '.join(names)}; name it there too")
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[text] for text in texts], np.int64), names


def image_set(pixels: NDArray[np.uint8], labels: NDArray[np.int64], parts: Sequence[Array]) -> ImageSet:
    """The images of these rows, domain after domain."""
    rows = np.concatenate(parts)
    counts = tuple(len(part) for part in parts)
    return ImageSet(torch.from_numpy(pixels[rows]), torch.from_numpy(labels[rows]), counts)
