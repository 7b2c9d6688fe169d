"""Anyone's own images: a tree of folders by domain, split and class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from splitmix.data.augmentation import CropFlip
from splitmix.data.dataset import Dataset
from splitmix.data.image_cache import decoded
from splitmix.data.sources import check_image_size, is_folder, mapped_sets, no_archives, require_folder, rotated
from splitmix.errors import UserError
from splitmix.printing import excerpt

SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class ImageFolder:
    """Settings of `dataset=folder`: `<root>/<domain>/{train,test}/<class>/*.{png,jpg}`.

    One domain is enough. Domains and classes are those of the folders, in alphabetical order; every class must stand in
    every domain and split.

    Attributes:
        root: the tree.
        image_size: height and width to which all images are resized.
        domain_order: how many domains move from the front to the end.
        augment: crop (after padding by an eighth of the size) and flip training images at random.
    """

    root: str | None = None
    image_size: int = 32
    domain_order: int = 0
    augment: bool = False

    name: ClassVar[str] = "folder"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, self.image_size, self.image_size)

    @cached_property
    def tree(self) -> Path:
        """The root; UserError if it is not there."""
        mend = "set dataset.root to a folder <root>/<domain>/{train,test}/<class>/*.png"
        root = require_folder(self.root, [], mend)
        if not is_folder(root):
            raise UserError(f"dataset.root={excerpt(root)}: no such folder; {mend}")
        return root

    @cached_property
    def domains(self) -> tuple[str, ...]:
        names = folders(self.tree)
        if not names:
            raise UserError(f"dataset.root={self.root}: holds no folder of a domain")
        return rotated(names, self.domain_order)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({name for domain in self.domains for name in folders(self.tree / domain / "train")}))

    def check(self) -> None:
        """Raise UserError if the tree lacks a split, or a class in a domain or split."""
        check_image_size(self.image_size)
        for domain in self.domains:
            for split in SPLITS:
                place = self.tree / domain / split
                if not is_folder(place):
                    raise UserError(f"dataset.root={self.root}: the folder {place} is missing")
                present = set(folders(place))
                if lacking := sorted(set(self.classes) - present):
                    raise UserError(f"{place} lacks the class {', '.join(lacking)}, which another domain or split has")
                if extra := sorted(present - set(self.classes)):
                    raise UserError(f"{place} has the class {', '.join(extra)}, which no train folder has")
        if len(self.classes) < 2:
            raise UserError(f"dataset.root={self.root}: at least two classes are needed, found {len(self.classes)}")

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Nothing to fetch: checks the tree."""
        no_archives(self.name, archives)
        self.check()
        say(f"{self.root}: domains {', '.join(self.domains)}; classes {', '.join(self.classes)}")

    def load(self, say: Callable[[str], None] | None = None, train_fraction: float = 1.0) -> Dataset:
        """Decode all images, or map those decoded by an earlier run (UserError: an empty class, a damaged image)."""
        self.check()
        files: list[Path] = []
        labels: dict[tuple[str, str], list[int]] = {}
        for split in SPLITS:
            for domain in self.domains:
                pairs = [
                    (file, label)
                    for label, name in enumerate(self.classes)
                    for file in image_files(self.tree / domain / split / name)
                ]
                # Classes follow one another on disk, and clients are cut contiguously: deal the images out.
                order = np.random.default_rng(len(pairs)).permutation(len(pairs))
                files += [pairs[number][0] for number in order]
                labels[split, domain] = [pairs[number][1] for number in order]
        train, test = mapped_sets(decoded(files, self.image_size, say), labels)
        augmentation = CropFlip.of_size(self.image_size) if self.augment else None
        return Dataset(self.name, self.domains, self.classes, train, test, augmentation=augmentation)


def folders(place: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, sorted, hidden ones left out (UserError: a name that cannot be shown)."""
    names = sorted(path.name for path in entries(place) if path.is_dir() and not path.name.startswith("."))
    for name in names:
        # Domains and classes stand in tables, messages and files.
        if not name.isprintable():
            raise UserError(f"{excerpt(place / name)}: the name of a domain or class must be printable; rename it")
    return tuple(names)


def image_files(place: Path) -> list[Path]:
    """The images in a folder, sorted; UserError if there is none."""
    files = sorted(path for path in entries(place) if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{place} holds no image ({', '.join(SUFFIXES)})")
    return files


def entries(place: Path) -> list[Path]:
    """What is in a folder, nothing if there is none (UserError: it cannot be read)."""
    try:
        return list(place.iterdir()) if is_folder(place) else []
    except OSError as error:
        raise UserError(f"{excerpt(place)}: cannot be read ({error.strerror})") from None
