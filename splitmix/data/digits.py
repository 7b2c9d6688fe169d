"""The Digits benchmark on disk: five domains of digits, as pickled arrays in ten training parts (the FedBN layout)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from splitmix.data.archives import below, unpack
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.safe_pickle import read_pickle
from splitmix.data.sources import Pixels, check_arrays, expanded, require_folder, rotated
from splitmix.errors import UserError

SIDE = 28
PARTS = 10
SHAPES = {"MNIST": (28, 28), "SVHN": (32, 32, 3), "USPS": (16, 16), "SynthDigits": (32, 32, 3), "MNIST_M": (28, 28, 3)}
"""Shape of one stored image, by domain, in base order."""
ARCHIVE = "digit_dataset.zip"


@dataclass(frozen=True)
class Digits:
    """Settings of `dataset=digits`.

    Li et al., "FedBN", ICLR 2021, prepared the files. Images become 3x28x28: resized bilinearly, grey ones repeated.
    `train_fraction` picks whole parts of a tenth each (0.3 is parts 0, 1 and 2); below a tenth, the start of part 0.

    Attributes:
        root: folder of the five domains.
        domain_order: how many domains of the base order move from the front to the end, 0 to 4.
    """

    root: str | None = "data/digits"
    domain_order: int = 0

    name: ClassVar[str] = "digits"
    input_shape: ClassVar[tuple[int, int, int]] = (3, SIDE, SIDE)
    classes: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(10))

    @property
    def domains(self) -> tuple[str, ...]:
        return rotated(tuple(SHAPES), self.domain_order)

    def check(self) -> None:
        """Raise UserError for an unknown domain order or a missing domain."""
        self.folder(self.domains)

    def folder(self, needed: tuple[str, ...]) -> Path:
        mend = f"fetch {ARCHIVE} of FedBN, then: splitmix data-prepare dataset=digits archive={ARCHIVE}"
        return require_folder(self.root, needed, mend)

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Unpack FedBN's archive into the root (UserError: none given, or damaged)."""
        if not archives:
            self.check()
        for archive in archives:
            count = unpack(archive, expanded(str(self.root)), below(tuple(SHAPES)))
            say(f"{archive}: {count} files to {self.root}")
        self.check()

    def load(self, say: Callable[[str], None] | None = None, train_fraction: float = 1.0) -> Dataset:
        """Read the training parts that the fraction picks, and the test sets.

        Raises:
            UserError: a missing or damaged file, or one of another shape, type or with other labels.
        """
        root = self.folder(self.domains)
        parts = max(int(train_fraction * PARTS + 1e-9), 1)
        train = [
            [root / domain / "partitions" / f"train_part{number}.pkl" for number in range(parts)]
            for domain in self.domains
        ]
        test = [[root / domain / "test.pkl"] for domain in self.domains]
        share = min(train_fraction * PARTS, 1.0)
        sets = (read_split(self.domains, train, share), read_split(self.domains, test))
        return Dataset(self.name, self.domains, self.classes, *sets, fraction_applied=True)


def read_split(domains: Sequence[str], files: Sequence[Sequence[Path]], share: float = 1.0) -> ImageSet:
    """All domains of a split, from the first `share` of each file (UserError names a bad one)."""
    stored = []
    for domain, names in zip(domains, files, strict=True):
        for images, labels in (read_part(name, SHAPES[domain]) for name in names):
            keep = int(len(labels) * share + 1e-9)
            stored.append((domain, images[:keep], labels[:keep]))
    # Filled in place: the resized images are in memory once.
    pixels = np.empty((sum(len(labels) for _, _, labels in stored), 3, SIDE, SIDE), np.uint8)
    start = 0
    for _, images, _ in stored:
        resize_into(pixels[start : start + len(images)], images)
        start += len(images)
    counts = tuple(sum(len(labels) for name, _, labels in stored if name == domain) for domain in domains)
    labels = np.concatenate([labels for _, _, labels in stored])
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels), counts)


def read_part(file: Path, shape: tuple[int, ...]) -> tuple[Pixels, Any]:
    """Images `[n, *shape]` and labels of one file (UserError names it)."""
    content = read_pickle(file)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise UserError(f"{file}: must hold a pair of images and labels")
    return check_arrays(file, content[0], content[1], shape, len(Digits.classes))


def resize_into(out: Pixels, images: Pixels) -> None:
    """`[n, h, w]` or `[n, h, w, 3]` into `[n, 3, 28, 28]`: antialiased bilinear, grey repeated."""
    same = images.shape[1:3] == (SIDE, SIDE)
    for number, image in enumerate(images):
        small = image if same else np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        out[number] = small if small.ndim == 2 else small.transpose(2, 0, 1)
