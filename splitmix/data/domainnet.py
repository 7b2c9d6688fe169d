"""DomainNet on disk: six domains of pictures, ten classes, listed by pickled paths (the FedBN split)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from splitmix.data.archives import below, unpack
from splitmix.data.augmentation import FlipRotate
from splitmix.data.dataset import Dataset
from splitmix.data.image_cache import decoded
from splitmix.data.safe_pickle import read_pickle
from splitmix.data.sources import expanded, mapped_sets, require_folder, rotated
from splitmix.errors import UserError
from splitmix.printing import excerpt

SIDE = 256
SITES = ("real", "clipart", "infograph", "painting", "quickdraw", "sketch")
"""Domains in base order."""
NAMED = 5  # unknown classes that a message names


@dataclass(frozen=True)
class DomainNet:
    """Settings of `dataset=domainnet`: six domains, 3x256x256, the ten classes of Li et al., "FedBN", ICLR 2021.

    Training images are augmented batch by batch: a horizontal flip by lot, a rotation by up to 30 degrees.

    Attributes:
        root: folder of the six domains' pictures, `<root>/<domain>/<class>/<file>`.
        split_root: folder that holds `DomainNet/<domain>_{train,test}.pkl`; None is `root`.
        domain_order: how many domains of the base order move from the front to the end, 0 to 5.
        augment: whether training images are augmented.
    """

    root: str | None = "data/domainnet"
    split_root: str | None = None
    domain_order: int = 0
    augment: bool = True

    name: ClassVar[str] = "domainnet"
    input_shape: ClassVar[tuple[int, int, int]] = (3, SIDE, SIDE)
    classes: ClassVar[tuple[str, ...]] = (
        "bird", "feather", "headphones", "ice_cream", "teapot", "tiger", "whale", "windmill", "wine_glass", "zebra"
    )  # fmt: skip

    @property
    def domains(self) -> tuple[str, ...]:
        return rotated(SITES, self.domain_order)

    def check(self) -> None:
        """Raise UserError for an unknown domain order, a missing domain or a missing list of paths."""
        self.folders()

    def folders(self) -> tuple[Path, Path]:
        """Where the pictures lie, and where the lists."""
        mend = (
            "fetch the six archives <domain>.zip of DomainNet and FedBN's lists domainnet_dataset.zip, then:"
            " splitmix data-prepare dataset=domainnet 'archive=[real.zip,…,domainnet_dataset.zip]'"
        )
        pictures = require_folder(self.root, self.domains, mend)
        lists = [f"DomainNet/{site}_{split}.pkl" for site in self.domains for split in ("train", "test")]
        return pictures, require_folder(self.split_root or self.root, lists, mend)

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Unpack the domains' archives and FedBN's lists (UserError: none given, or damaged)."""
        if not archives:
            self.check()
        for archive in archives:
            pictures = unpack(archive, expanded(str(self.root)), below(SITES))
            lists = unpack(archive, expanded(str(self.split_root or self.root)), below(("DomainNet",)))
            say(f"{archive}: {pictures} pictures and {lists} lists to {self.root}")
        self.check()

    @property
    def augmentation(self) -> FlipRotate | None:
        """How training images are changed in every batch."""
        return FlipRotate() if self.augment else None

    def load(self, say: Callable[[str], None] | None = None, train_fraction: float = 1.0) -> Dataset:
        """Decode all pictures, or map those decoded by an earlier run.

        Raises:
            UserError: a missing or damaged file, an unknown class.
        """
        root, lists = self.folders()
        files: list[Path] = []
        labels: dict[tuple[str, str], Sequence[int]] = {}
        for split in ("train", "test"):
            for site in self.domains:
                paths, labels[split, site] = read_list(lists / "DomainNet" / f"{site}_{split}.pkl", root, self.classes)
                files += paths
        train, test = mapped_sets(decoded(files, SIDE, say), labels)
        return Dataset(self.name, self.domains, self.classes, train, test, augmentation=self.augmentation)


def read_list(file: Path, root: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """Image files below `root` and their labels; UserError names the list and what is wrong."""
    content = read_pickle(file)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise UserError(f"{file}: must hold a pair of paths and class names")
    paths, names = texts(file, "paths", content[0]), texts(file, "class names", content[1])
    if len(paths) != len(names):
        raise UserError(f"{file}: {len(paths)} paths, but {len(names)} class names")
    if not paths:
        raise UserError(f"{file}: lists no image")
    if unknown := sorted(set(names) - set(classes)):
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        shown = ", ".join(excerpt(name, 40) for name in unknown[:NAMED])
        raise UserError(f"{file}: unknown classes {shown}{more}; known are {', '.join(classes)}")
    # The last three parts of a path: domain, class, file; the rest is of somebody else's disk.
    parts = [Path(path).parts[-3:] for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if len(part) != 3 or ".." in part or Path(*part).is_absolute():
            raise UserError(f"{file}: the path {excerpt(path)} leaves the folder of images")
    return [root.joinpath(*part) for part in parts], [classes.index(name) for name in names]


def texts(file: Path, what: str, part: Any) -> list[str]:
    """A list of texts out of a file of paths (UserError: anything else)."""
    if isinstance(part, np.ndarray) and part.ndim == 1:
        part = part.tolist()
    if not isinstance(part, list | tuple):
        raise UserError(f"{file}: its {what} must be a list of texts, found {type(part).__name__}")
    for number, text in enumerate(part):
        if not isinstance(text, str):
            raise UserError(f"{file}: its {what} must be texts, but number {number} is a {type(text).__name__}")
    return list(part)
