"""Makes all images and labels of minidigits, domain by domain, from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from splitmix.data.minidigits_handwritten import (
    SIDE,
    deal_sources,
    draw_coarse,
    draw_handwritten,
    draw_photo_blend,
    load_photos,
    load_source_digits,
    split_sources,
)
from splitmix.data.minidigits_rendered import draw_font_digit, draw_house_number, load_fonts

DOMAINS = ("handwritten", "coarse", "photo_blend", "fonts", "house_numbers")
CLASSES = 10
SIZES = {"train": 2220, "test": 500}  # images per domain; both are multiples of CLASSES, so classes balance exactly
SEED = 20220
RENDERED = -1  # stands for the source index in domains that have no source digit


def array_shapes() -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
    """Name, shape and dtype of every array that `make_minidigits` returns by default."""
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]] = {}
    for split, size in SIZES.items():
        shapes[f"{split}_images"] = ((len(DOMAINS), size, 3, SIDE, SIDE), np.dtype(np.uint8))
        shapes[f"{split}_labels"] = ((len(DOMAINS), size), np.dtype(np.int64))
        shapes[f"{split}_sources"] = ((len(DOMAINS), size), np.dtype(np.int64))
    return shapes


def make_minidigits(
    sizes: Mapping[str, int] = SIZES, progress: Callable[[str], None] | None = None
) -> dict[str, NDArray[np.generic]]:
    """Draw both splits of all domains; the same sizes and library versions always give the same bytes.

    Args:
        sizes: images per domain of "train" and "test", each a multiple of 10.
        progress: called with one line per domain.

    Returns:
        For each split, with domains in the order of `DOMAINS`: `<split>_images` uint8 `[5, n, 3, 28, 28]`,
        `<split>_labels` int64 `[5, n]`, and `<split>_sources` int64 `[5, n]`, the index of the source digit in
        scikit-learn's `load_digits`, or -1 where the image is rendered. No source is in both splits.
    """
    digits, digit_labels = load_source_digits()
    # Fifty sources a class give every test image of a full domain a source of its own.
    pools = split_sources(digit_labels, SIZES["test"] // CLASSES, np.random.default_rng([SEED]))
    photos, fonts = load_photos(), load_fonts()
    from_source: dict[str, Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]] = {
        "handwritten": draw_handwritten,
        "coarse": draw_coarse,
        "photo_blend": lambda digit, rng: draw_photo_blend(digit, photos, rng),
    }
    from_label: dict[str, Callable[[int, np.random.Generator], NDArray[np.uint8]]] = {
        "fonts": lambda label, rng: draw_font_digit(label, fonts, rng),
        "house_numbers": lambda label, rng: draw_house_number(label, fonts, rng),
    }
    arrays: dict[str, NDArray[np.generic]] = {}
    for split_number, (split, pool) in enumerate(zip(("train", "test"), pools, strict=True)):
        size = sizes[split]
        images = np.empty((len(DOMAINS), size, 3, SIDE, SIDE), dtype=np.uint8)
        labels = np.empty((len(DOMAINS), size), dtype=np.int64)
        sources = np.full((len(DOMAINS), size), RENDERED, dtype=np.int64)
        for number, domain in enumerate(DOMAINS):
            if progress:
                progress(f"minidigits: drawing {size} {split} images of {domain}")
            rng = np.random.default_rng([SEED, number, split_number])
            labels[number] = _shuffled_labels(size, rng)
            if domain in from_source:
                sources[number] = deal_sources(labels[number], digit_labels, pool, rng)
                images[number] = [from_source[domain](digits[source], rng) for source in sources[number]]
            else:
                images[number] = [from_label[domain](int(label), rng) for label in labels[number]]
        arrays |= {f"{split}_images": images, f"{split}_labels": labels, f"{split}_sources": sources}
    return arrays


def _shuffled_labels(size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels int64 `[size]`: every ten in a row are a shuffle of the ten classes.

    Clients get contiguous runs of a domain, so a plain shuffle would leave small clients without some classes.
    """
    return np.concatenate([rng.permutation(CLASSES) for _ in range(size // CLASSES)]).astype(np.int64)
