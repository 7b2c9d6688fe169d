"""Tests that the picture of samples is written, in the right proportions, with the right images in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splitmix.data.dataset import Dataset, ImageSet
from splitmix.reporting.samples import draw_samples


def plain_dataset(channels: int, classes: int = 4, domains: int = 3, labels: int | None = None) -> Dataset:
    """Every image is one flat grey that tells domain and class: 60 * domain + 20 * class + 10."""
    shown = range(classes if labels is None else labels)
    grey = torch.tensor([60 * domain + 20 * label + 10 for domain in range(domains) for label in shown])
    images = grey.to(torch.uint8)[:, None, None, None].expand(-1, channels, 28, 28).contiguous()
    split = ImageSet(images, torch.tensor(list(shown) * domains), (len(shown),) * domains)
    names = tuple(f"domain_{number}" for number in range(domains))
    return Dataset("plain", names, tuple(map(str, range(classes))), split, split)


def runs_of_grey(line: np.ndarray) -> list[int]:
    """The greys that fill at least 40 dots of a line, in order: the images it crosses, without gaps and letters."""
    edges = np.flatnonzero(np.diff(line.astype(int))) + 1
    return [int(part[0]) for part in np.split(line, edges) if len(part) >= 40 and part[0] < 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_domains_and_columns_are_classes_in_order(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    draw_samples(plain_dataset(channels), path, per_domain=6)
    with Image.open(path) as picture:
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        dots = np.asarray(picture.convert("L"))
    for row in range(3):
        line = dots[round(len(dots) * (row + 0.5) / 3)]
        expected = [60 * row + 20 * label + 10 for label in (0, 1, 2, 3, 0, 1)]
        assert runs_of_grey(line) == pytest.approx(expected, abs=1)


@pytest.mark.slow
def test_proportions_follow_rows_and_columns(tmp_path: Path) -> None:
    def size(domains: int, per_domain: int) -> tuple[int, int]:
        draw_samples(plain_dataset(3, domains=domains), tmp_path / "a.png", per_domain=per_domain)
        with Image.open(tmp_path / "a.png") as picture:
            return picture.size

    (width, height), wider, higher = size(2, 6), size(2, 12), size(4, 6)
    assert wider[1] == height and higher[0] == width
    # Images are square: six more columns and two more rows grow by the same pitch.
    assert (wider[0] - width) / 6 == pytest.approx((higher[1] - height) / 2, abs=1)


def test_class_without_images_leaves_its_place_empty(tmp_path: Path) -> None:
    draw_samples(plain_dataset(3, classes=4, domains=1, labels=2), tmp_path / "a.png", per_domain=6)
    with Image.open(tmp_path / "a.png") as picture:
        dots = np.asarray(picture.convert("L"))
    assert runs_of_grey(dots[len(dots) // 2]) == pytest.approx([10, 30, 10, 30], abs=1)


def test_seed_chooses_the_images(tmp_path: Path) -> None:
    images = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28).contiguous()
    split = ImageSet(images, torch.zeros(200, dtype=torch.int64), (200,))
    dataset = Dataset("many", ("all",), ("0",), split, split)
    pictures = []
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.png"
        draw_samples(dataset, path, per_domain=4, seed=seed)
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture).tobytes())
    assert pictures[0] == pictures[1] != pictures[2]
