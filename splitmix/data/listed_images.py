"""Images that a table lists: what the settings of such datasets share beyond reading the table and an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from splitmix.data.augmentation import CropFlip
from splitmix.data.dataset import Dataset
from splitmix.data.sources import Pixels, check_image_size, mapped_sets, no_archives, rotated
from splitmix.data.table import SPLITS, Table

Say = Callable[[str], None]


class ListedImages(ABC):
    """A dataset whose settings, a dataclass derived from this class, give a table and the images of its rows.

    Attributes:
        image_size: height and width to which all images are resized.
        domain_order: how many domains move from the front to the end.
        augment: crop (after padding by an eighth of the size) and flip training images at random.
    """

    name: ClassVar[str]
    image_size: int
    domain_order: int
    augment: bool

    @property
    @abstractmethod
    def table(self) -> Table:
        """Labels, domains and splits of all rows; UserError for what is no such table."""

    @abstractmethod
    def pixels(self, rows: Sequence[int], say: Say | None) -> Pixels:
        """Decode the images of these rows, `[n, 3, image_size, image_size]` (UserError: a missing or damaged image)."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, self.image_size, self.image_size)

    @property
    def domains(self) -> tuple[str, ...]:
        return rotated(self.table.domain_names, self.domain_order)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.table.classes

    def check(self) -> None:
        """Raise UserError for a size that is none, or a table that lacks something."""
        check_image_size(self.image_size)
        self.table.check()
        rotated(self.table.domain_names, self.domain_order)

    def prepare(self, archives: Sequence[Path], say: Say) -> None:
        """Check the table; what it takes to read it is all that there is to fetch."""
        no_archives(self.name, archives)
        self.check()
        say(f"{self.table.where}: domains {', '.join(self.domains)}; classes {', '.join(self.classes)}")

    def load(self, say: Say | None = None, train_fraction: float = 1.0) -> Dataset:
        """Decode all images, or map those decoded by an earlier run (UserError: a missing or damaged image)."""
        self.check()
        rows = {(split, domain): self.table.rows[split, domain] for split in SPLITS for domain in self.domains}
        pixels = self.pixels([int(row) for part in rows.values() for row in part], say)
        train, test = mapped_sets(pixels, {place: self.table.numbers[part].tolist() for place, part in rows.items()})
        augmentation = CropFlip.of_size(self.image_size) if self.augment else None
        return Dataset(self.name, self.domains, self.classes, train, test, augmentation=augmentation)
