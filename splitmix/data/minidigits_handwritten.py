"""Draws the three hand-written domains of minidigits from the 8x8 UCI digits that scikit-learn ships.

Source of the digits: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998 (the 1,797 images of its test part, `sklearn.datasets.load_digits`). It is not MNIST. The file does
not say who wrote which digit, so sources are split by image and a hand may occur in both splits.

Source of the photographs: `sklearn.datasets.load_sample_images`, both under CC BY 2.0
(https://creativecommons.org/licenses/by/2.0/): china.jpg by danielbuechele
(https://www.flickr.com/photos/danielbuechele/6061409035/), and flower.jpg, which scikit-learn's README attributes to
danielbuechele and links to vultilion's page (https://www.flickr.com/photos/vultilion/6056698931/).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 28


def load_source_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All source digits: images uint8 `[1797, 8, 8]` (ink bright, 0 to 255) and labels int64 `[1797]`."""
    # scikit-learn takes seconds to import and a cached dataset never needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)


def load_photos() -> list[NDArray[np.uint8]]:
    """The two bundled photographs, each uint8 `[427, 640, 3]`."""
    from sklearn.datasets import load_sample_images

    return [np.asarray(photo, dtype=np.uint8) for photo in load_sample_images().images]


def split_sources(
    labels: NDArray[np.int64], test_per_class: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part the source digits into train and test indices, with `test_per_class` of every class in test."""
    train, test = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        test.append(members[:test_per_class])
        train.append(members[test_per_class:])
    return np.concatenate(train), np.concatenate(test)


def deal_sources(
    served_labels: NDArray[np.int64], labels: NDArray[np.int64], pool: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose a source digit from `pool` for every label to serve; a source repeats only after all its class was used.

    Args:
        served_labels: labels to serve, int64 `[n]`.
        labels: labels of all source digits; `pool` indexes them.

    Returns:
        Source indices int64 `[n]`, with `labels[result] == served_labels`.
    """
    sources = np.empty_like(served_labels)
    for label in np.unique(served_labels):
        places = np.flatnonzero(served_labels == label)
        sources[places] = np.resize(rng.permutation(pool[labels[pool] == label]), len(places))
    return sources


def draw_handwritten(digit: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One smooth grey digit on black, slightly turned and shifted: uint8 `[3, 28, 28]` from uint8 `[8, 8]`."""
    return np.repeat(_smooth(digit, rng)[None], 3, axis=0)


def draw_coarse(digit: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One upright digit of visible blocks, 24 pixels high: uint8 `[3, 28, 28]` from uint8 `[8, 8]`.

    The ink is cut at two thresholds to black, grey and white and cropped to its bounding box; every source pixel
    becomes one block. One threshold alone would break thin strokes or close the holes of "0" and "8".
    """
    ink = np.where(digit > rng.uniform(130, 170), 255, np.where(digit > rng.uniform(60, 90), 110, 0)).astype(np.uint8)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height = SIDE - 4
    width = min(height, round(crop.shape[1] * height / crop.shape[0] * rng.uniform(0.9, 1.1)))
    blocks = Image.fromarray(crop).resize((width, height), Image.Resampling.NEAREST)
    canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
    top = int(rng.integers(0, SIDE - height + 1))
    left = (SIDE - width) // 2 + int(rng.integers(-2, 3))
    canvas[top : top + height, left : left + width] = np.asarray(blocks)
    return np.repeat(canvas[None], 3, axis=0)


def draw_photo_blend(
    digit: NDArray[np.uint8], photos: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One digit blended into a random patch of a photograph by |patch - digit|: uint8 `[3, 28, 28]`.

    Args:
        digit: source digit, uint8 `[8, 8]`.
        photos: photographs uint8 `[height, width, 3]`, each at least 28 pixels wide and high.
    """
    photo = photos[int(rng.integers(len(photos)))]
    top = int(rng.integers(photo.shape[0] - SIDE + 1))
    left = int(rng.integers(photo.shape[1] - SIDE + 1))
    patch = photo[top : top + SIDE, left : left + SIDE].astype(np.int16)
    strength = rng.uniform(0.55, 1.0)
    ink = (_smooth(digit, rng) * strength).astype(np.int16)
    blend: NDArray[np.int16] = np.abs(patch - ink[:, :, None])
    return blend.astype(np.uint8).transpose(2, 0, 1)


def _smooth(digit: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Up-sample uint8 `[8, 8]` to `[28, 28]` without visible blocks, turned by up to 12 degrees, shifted by up to 2."""
    large = Image.fromarray(digit).resize((22, 22), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (SIDE, SIDE))
    canvas.paste(large, (3, 3))
    shift = (int(rng.integers(-2, 3)), int(rng.integers(-2, 3)))
    turned = canvas.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR, translate=shift)
    return np.asarray(turned)
