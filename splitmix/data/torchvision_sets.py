"""Datasets that torchvision downloads and reads, as one domain."""

from __future__ import annotations

import bz2
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from splitmix.data.augmentation import CropFlip
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.limits import PICKLE
from splitmix.data.sources import check_arrays, expanded, is_folder, no_archives
from splitmix.errors import UserError
from splitmix.printing import excerpt
from splitmix.regular_files import open_regular

SOURCES = {
    "MNIST": ((28, 28), 10, "MNIST/*/*"),
    "FashionMNIST": ((28, 28), 10, "FashionMNIST/*/*"),
    "KMNIST": ((28, 28), 10, "KMNIST/*/*"),
    "USPS": ((16, 16), 10, "usps*.bz2"),
    "SVHN": ((3, 32, 32), 10, "*_32x32.mat"),
    "CIFAR10": ((32, 32, 3), 10, "cifar-10-batches-py/*"),
    "CIFAR100": ((32, 32, 3), 100, "cifar-100-python/*"),
}
"""Shape of a stored image, number of classes, and where the files lie below the root, by torchvision's name."""


TEXT = 16
"""Bytes of memory that torchvision takes for a byte of text, in the files of USPS."""


@dataclass(frozen=True)
class TorchvisionSet:
    """Settings of `dataset=torchvision`: one domain, grey images repeated to three channels.

    Downloads are checked by torchvision against the known checksums; of files that are already there it checks the
    CIFAR and SVHN ones.

    Attributes:
        source: MNIST, FashionMNIST, KMNIST, USPS, SVHN, CIFAR10 or CIFAR100.
        root: folder of torchvision's files.
        augment: crop (after padding by 4) and flip training images at random.
    """

    source: str = "FashionMNIST"
    root: str | None = "data/torchvision"
    augment: bool = False

    name: ClassVar[str] = "torchvision"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        side = self.known()[0][1]
        return (3, side, side)

    @property
    def domains(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(self.known()[1]))

    def known(self) -> tuple[tuple[int, ...], int, str]:
        """Shape of a stored image, number of classes and place of the files; UserError for an unknown source."""
        if self.source not in SOURCES:
            raise UserError(f"dataset.source={self.source}: choose one of {', '.join(SOURCES)}")
        return SOURCES[self.source]

    def check(self) -> None:
        """Raise UserError for an unknown source or data that are not there."""
        self.known()
        if not self.root:
            raise UserError("dataset.root is not set: name the folder of torchvision's files")
        if not is_folder(expanded(self.root)):
            raise UserError(f"dataset.root={excerpt(self.root)}: no such folder; {self.mend}")

    @property
    def mend(self) -> str:
        return f"run: splitmix data-prepare dataset=torchvision dataset.source={self.source}"

    def open(self, split: str, download: bool = False) -> Any:
        """torchvision's own dataset."""
        from torchvision import datasets

        root = expanded(str(self.root))
        check_files(root, self.known()[2])
        which: dict[str, Any] = {"split": split} if self.source == "SVHN" else {"train": split == "train"}
        return getattr(datasets, self.source)(str(root), download=download, **which)

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Download through torchvision, which checks the files (UserError: the download failed)."""
        no_archives(self.name, archives)
        self.known()
        for split in ("train", "test"):
            try:
                expanded(str(self.root)).mkdir(parents=True, exist_ok=True)
                self.open(split, download=True)
            except UserError:
                raise
            except (OSError, RuntimeError, EOFError) as error:
                raise UserError(
                    f"dataset.source={self.source}: the download failed ({' '.join(str(error).split())[:80]})"
                ) from None
        say(f"{self.source} is at {self.root}")

    def load(self, say: Callable[[str], None] | None = None, train_fraction: float = 1.0) -> Dataset:
        """Read both splits (UserError: missing or damaged files)."""
        self.check()
        sets = []
        for split in ("train", "test"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of numbers that are none; what comes out is checked
                    opened = self.open(split)
                labels = np.asarray(opened.labels if self.source == "SVHN" else opened.targets)
                images = np.asarray(opened.data)
            except UserError:
                raise
            except Exception as error:  # torchvision raises nearly anything on damaged files
                raise UserError(
                    f"dataset.root={self.root}: {self.source} is not there or damaged"
                    f" ({' '.join(str(error).split())[:80]}); {self.mend}"
                ) from None
            shape, classes, _ = self.known()
            try:
                images, labels = check_arrays(expanded(str(self.root)) / self.source, images, labels, shape, classes)
            except UserError as error:
                raise UserError(f"dataset.root={self.root}: the {split} set of {error}; {self.mend}") from None
            tensors = as_channels(torch.as_tensor(images)), torch.as_tensor(labels)
            sets.append(ImageSet(*tensors, (len(labels),)))
        augmentation = CropFlip() if self.augment else None
        return Dataset(self.name, self.domains, self.classes, sets[0], sets[1], augmentation=augmentation)


def check_files(root: Path, pattern: str) -> None:
    """Refuse files of torchvision's that are none, or that take too much memory when read whole (UserError)."""
    for path in sorted(root.glob(pattern)):
        if path.is_dir():
            continue
        try:
            with open_regular(path) as file:
                packed = path.suffix == ".bz2"
                size = TEXT * unpacked_size(file, PICKLE.value / TEXT) if packed else os.fstat(file.fileno()).st_size
        except (OSError, EOFError) as error:
            raise UserError(f"{path} is damaged or cannot be read ({error}): fetch it again") from None
        if size > PICKLE.value:
            raise PICKLE.refusal(f"{path}: takes more memory than allowed")


def unpacked_size(file: BinaryIO, enough: float) -> int:
    """Bytes that a bz2 file unpacks to; counting ends when they are more than `enough`."""
    size = 0
    with bz2.open(file) as unpacked:
        while size <= enough and (step := len(unpacked.read(2**20))):
            size += step
    return size


def as_channels(images: Tensor) -> Tensor:
    """uint8 `[n, h, w]`, `[n, h, w, 3]` or `[n, 3, h, w]` to `[n, 3, h, w]`; grey images are not stored three times."""
    if images.dim() == 3:
        return images.unsqueeze(1).expand(-1, 3, -1, -1)
    return images if images.shape[1] == 3 else images.permute(0, 3, 1, 2).contiguous()
