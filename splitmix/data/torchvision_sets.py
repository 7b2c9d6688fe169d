"""Datasets that torchvision downloads and reads, as one domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from splitmix.data.augmentation import CropFlip
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.errors import UserError

SOURCES = {
    "MNIST": (28, 10),
    "FashionMNIST": (28, 10),
    "KMNIST": (28, 10),
    "USPS": (16, 10),
    "SVHN": (32, 10),
    "CIFAR10": (32, 10),
    "CIFAR100": (32, 100),
}
"""Side of the images and number of classes, by torchvision's name."""


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
        return (3, self.known()[0], self.known()[0])

    @property
    def domains(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(self.known()[1]))

    def known(self) -> tuple[int, int]:
        """Side and number of classes; UserError for an unknown source."""
        if self.source not in SOURCES:
            raise UserError(f"dataset.source={self.source}: choose one of {', '.join(SOURCES)}")
        return SOURCES[self.source]

    def check(self) -> None:
        """Raise UserError for an unknown source or data that are not there."""
        self.known()
        if not self.root:
            raise UserError("dataset.root is not set: name the folder of torchvision's files")
        if not Path(self.root).expanduser().is_dir():
            raise UserError(f"dataset.root={self.root}: no such folder; {self.mend}")

    @property
    def mend(self) -> str:
        return f"run: splitmix data-prepare dataset=torchvision dataset.source={self.source}"

    def open(self, split: str, download: bool = False) -> Any:
        """torchvision's own dataset."""
        from torchvision import datasets

        root = Path(str(self.root)).expanduser()
        which: dict[str, Any] = {"split": split} if self.source == "SVHN" else {"train": split == "train"}
        return getattr(datasets, self.source)(str(root), download=download, **which)

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Download through torchvision, which checks the files (UserError: the download failed)."""
        self.known()
        for split in ("train", "test"):
            try:
                Path(str(self.root)).expanduser().mkdir(parents=True, exist_ok=True)
                self.open(split, download=True)
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
                found = self.open(split)
            except Exception as error:  # torchvision raises nearly anything on damaged files
                raise UserError(
                    f"dataset.root={self.root}: {self.source} is not there or damaged"
                    f" ({' '.join(str(error).split())[:80]}); {self.mend}"
                ) from None
            labels = torch.as_tensor(np.asarray(found.labels if self.source == "SVHN" else found.targets))
            if len(labels) != len(found.data) or not 0 <= int(labels.min()) <= int(labels.max()) < self.known()[1]:
                raise UserError(f"dataset.root={self.root}: {self.source} has labels that do not fit; {self.mend}")
            sets.append(ImageSet(as_channels(torch.as_tensor(found.data)), labels.long(), (len(labels),)))
        augmentation = CropFlip() if self.augment else None
        return Dataset(self.name, self.domains, self.classes, sets[0], sets[1], augmentation=augmentation)


def as_channels(images: Tensor) -> Tensor:
    """uint8 `[n, h, w]`, `[n, h, w, 3]` or `[n, 3, h, w]` to `[n, 3, h, w]`; grey images are not stored three times."""
    if images.dim() == 3:
        return images.unsqueeze(1).expand(-1, 3, -1, -1)
    return images if images.shape[1] == 3 else images.permute(0, 3, 1, 2).contiguous()
