"""Small copies of the real on-disk layouts, written by the tests that read them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from splitmix.data.digits import SHAPES
from splitmix.data.domainnet import SITES

DOMAINNET_CLASSES = ["bird", "feather", "headphones", "ice_cream", "teapot", "tiger", "whale", "windmill", "wine_glass"]
DOMAINNET_CLASSES += ["zebra"]


def digits(root: Path, n: int = 60, n_test: int = 40, parts: int = 10) -> Path:
    """FedBN's Digits: ten training parts of `n` images per domain."""
    generator = np.random.default_rng(0)
    for domain, shape in SHAPES.items():
        (root / domain / "partitions").mkdir(parents=True)
        files = [(root / domain / "partitions" / f"train_part{part}.pkl", n) for part in range(parts)]
        for file, count in [*files, (root / domain / "test.pkl", n_test)]:
            images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
            file.write_bytes(pickle.dumps((images, generator.integers(0, 10, count))))
    return root


def cifar10(root: Path, n: int = 100) -> Path:
    """CIFAR-10's Python batches, `n` images each."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        content = {
            "batch_label": name,
            "labels": [int(label) for label in generator.integers(0, 10, n)],
            "data": generator.integers(0, 256, (n, 3072), dtype=np.uint8),
            "filenames": [f"{number}.png" for number in range(n)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


def domainnet(root: Path, per_class: int = 4) -> Path:
    """DomainNet's pictures of various sizes and modes, and FedBN's lists with paths of another disk."""
    generator = np.random.default_rng(2)
    (root / "DomainNet").mkdir(parents=True)
    for site in SITES:
        for split in ("train", "test"):
            paths, labels = [], []
            for label, name in enumerate(DOMAINNET_CLASSES):
                folder = root / site / name
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(per_class):
                    pixels = generator.integers(0, 256, (20 + label, 30, 3), dtype=np.uint8)
                    image = Image.fromarray(pixels)
                    if number == 1:
                        image = image.convert("L")
                    file = folder / f"{split}{number}.png"
                    image.save(file)
                    paths.append(f"/home/somebody/data/{site}/{name}/{file.name}")
                    labels.append(name)
            (root / "DomainNet" / f"{site}_{split}.pkl").write_bytes(pickle.dumps((paths, np.array(labels))))
    return root


def tree(
    root: Path, domains: tuple[str, ...] = ("a", "b"), classes: tuple[str, ...] = ("cat", "dog"), n: int = 12
) -> Path:
    """A tree for dataset=folder, a third as many test images as train images."""
    generator = np.random.default_rng(3)
    for domain in domains:
        for split, count in (("train", n), ("test", n // 3)):
            for number, name in enumerate(classes):
                folder = root / domain / split / name
                folder.mkdir(parents=True)
                for index in range(count):
                    shade = generator.integers(0, 60, (9, 11, 3), dtype=np.uint8) + 80 * number
                    Image.fromarray(shade.astype(np.uint8)).save(folder / f"{index}.png")
    return root
