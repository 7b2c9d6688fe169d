"""Draws a picture of a dataset: one row per domain, samples of its classes in order."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.figure import Figure

from splitmix.data.dataset import Dataset

CELL = 0.56  # inches per image: three dots for each pixel of a 28x28 image
GAP = 0.06  # part of an image between two images
MARGIN = 0.08  # inches
LABEL_POINTS = 10
INCHES_PER_LETTER = 0.095  # at LABEL_POINTS, with room to spare, so that no domain name is cut


def draw_samples(dataset: Dataset, path: Path | IO[bytes], per_domain: int = 12, seed: int = 0) -> None:
    """Write a picture of random training images as a file of 150 dots per inch.

    Columns show the classes in order, starting again at the first after the last; a class that a domain lacks
    leaves its place empty.

    Args:
        dataset: images with one channel (drawn in grey) or three (RGB).
        path: file to write, whose ending chooses the format and whose folder must exist; or an open file, for PNG.
        per_domain: columns.
        seed: chooses the images.

    Raises:
        OSError: the file cannot be written.
    """
    rng = np.random.default_rng(seed)
    images, labels = dataset.train.images.numpy(), dataset.train.labels.numpy()
    rows = len(dataset.domains)
    label_width = INCHES_PER_LETTER * max(len(name) for name in dataset.domains)
    pitch = CELL * (1 + GAP)
    width = label_width + pitch * per_domain + 2 * MARGIN
    height = pitch * rows - CELL * GAP + 2 * MARGIN
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    for row, name in enumerate(dataset.domains):
        top = height - MARGIN - pitch * row
        figure.text(
            (MARGIN + label_width - 0.06) / width,
            (top - CELL / 2) / height,
            name,
            ha="right",
            va="center",
            fontsize=LABEL_POINTS,
        )
        part = dataset.train.domain_slice(row)
        for column in range(per_domain):
            members = np.flatnonzero(labels[part] == column % len(dataset.classes)) + part.start
            if len(members) == 0:
                continue
            image = images[rng.choice(members)].transpose(1, 2, 0)
            left = MARGIN + label_width + pitch * column
            axes = figure.add_axes((left / width, (top - CELL) / height, CELL / width, CELL / height))
            axes.imshow(
                image.squeeze(2) if image.shape[2] == 1 else image,
                cmap="gray",
                vmin=0,
                vmax=255,
                interpolation="nearest",
            )
            axes.set_axis_off()
    figure.savefig(path)
