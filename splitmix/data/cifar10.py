"""CIFAR-10 on disk, in the layout of its Python archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from splitmix.data.archives import below, unpack
from splitmix.data.augmentation import CropFlip
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.safe_pickle import read_pickle
from splitmix.data.sources import check_arrays, expanded, is_folder, require_folder
from splitmix.errors import UserError

SIDE = 32
FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)


@dataclass(frozen=True)
class CIFAR10:
    """Settings of `dataset=cifar10`: one domain, 3x32x32, ten classes (Krizhevsky, 2009).

    Training images are augmented batch by batch: a random crop of the image padded by 4, a horizontal flip by lot.

    Attributes:
        root: folder that holds `cifar-10-batches-py`, or `cifar10/cifar-10-batches-py`.
        augment: whether training images are augmented.
    """

    root: str | None = "data/cifar10"
    augment: bool = True

    name: ClassVar[str] = "cifar10"
    input_shape: ClassVar[tuple[int, int, int]] = (3, SIDE, SIDE)
    domains: ClassVar[tuple[str, ...]] = ("cifar10",)
    classes: ClassVar[tuple[str, ...]] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip

    def check(self) -> None:
        """Raise UserError if a batch file is missing."""
        self.folder()

    def folder(self) -> Path:
        """The folder of the batch files."""
        nested = expanded(self.root or "") / "cifar10" / FOLDER
        root = str(nested) if self.root and is_folder(nested) else self.root and str(Path(self.root) / FOLDER)
        return require_folder(root, [*TRAIN, *TEST], "run: splitmix data-prepare dataset=cifar10")

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Unpack the archives, or download the archive through torchvision, which checks it.

        Raises:
            UserError: the download failed, or an archive is damaged.
        """
        from torchvision import datasets
        from torchvision.datasets.utils import download_url

        root = expanded(str(self.root))
        for archive in archives:
            say(f"{archive}: {unpack(archive, root, below((FOLDER,)))} files to {self.root}")
        if archives:
            return self.check()
        with suppress(UserError):
            self.check()
            say(f"CIFAR-10 is at {self.folder()}")
            return
        known = datasets.CIFAR10
        try:
            download_url(known.url, str(root), known.filename, known.tgz_md5)
        except (OSError, RuntimeError, EOFError) as error:
            raise UserError(
                f"dataset.root={self.root}: the download of {known.url} failed ({' '.join(str(error).split())[:80]});"
                f" fetch {known.filename}, then: splitmix data-prepare dataset=cifar10 archive={known.filename}"
            ) from None
        unpack(root / known.filename, root, below((FOLDER,)))
        self.check()

    @property
    def augmentation(self) -> CropFlip | None:
        """How training images are changed in every batch."""
        return CropFlip() if self.augment else None

    def load(self, say: Callable[[str], None] | None = None, train_fraction: float = 1.0) -> Dataset:
        """Read all batch files.

        Raises:
            UserError: a missing or damaged file, or one of another shape, type or with other labels.
        """
        folder = self.folder()
        train, test = (read_batches([folder / name for name in names]) for names in (TRAIN, TEST))
        return Dataset(self.name, self.domains, self.classes, train, test, augmentation=self.augmentation)


def read_batches(files: list[Path]) -> ImageSet:
    """The images of batch files, one after another; only one file is in memory beside them."""
    images: Any = None
    labels = []
    for number, file in enumerate(files):
        content = read_pickle(file)
        if not isinstance(content, dict) or "data" not in content or "labels" not in content:
            raise UserError(f"{file}: is no batch of CIFAR-10, it lacks data or labels")
        pixels, values = check_arrays(file, content["data"], content["labels"], (3 * SIDE * SIDE,), 10)
        if images is None:
            images = np.empty((len(files), len(pixels), 3, SIDE, SIDE), np.uint8)
        if len(pixels) != images.shape[1]:
            raise UserError(f"{file}: has {len(pixels)} images, the other batches {images.shape[1]}")
        images[number] = pixels.reshape(-1, 3, SIDE, SIDE)
        labels.append(values)
    flat = images.reshape(-1, 3, SIDE, SIDE)
    return ImageSet(torch.from_numpy(flat), torch.from_numpy(np.concatenate(labels)), (len(flat),))
