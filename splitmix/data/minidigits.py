"""The dataset minidigits: five feature-shifted domains of digits, made once from what the dependencies ship.

It is not MNIST and holds none of its images, nor those of MNIST-M, USPS, SynthDigits or SVHN: it is a small stand-in
with the same kinds of shift. Recipes and sources are in `minidigits_recipe`, `minidigits_handwritten` and
`minidigits_rendered`.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.minidigits_handwritten import SIDE
from splitmix.data.minidigits_recipe import CLASSES, DOMAINS, array_shapes, make_minidigits
from splitmix.data.sources import expanded, no_archives
from splitmix.errors import UserError
from splitmix.files import cache_folder, replacing
from splitmix.regular_files import open_regular

RECIPE_FILES = ("minidigits_recipe.py", "minidigits_handwritten.py", "minidigits_rendered.py")
HEADERS = 2**16  # bytes of a cache file beside its arrays, at most
RENDERERS = ("scikit-learn", "pillow", "matplotlib", "numpy")

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class MiniDigits:
    """2,220 train and 500 test images per domain, ten balanced classes, uint8 RGB of 28x28 pixels.

    Domains in base order:
        handwritten: the 8x8 digits of the UCI set up-sampled smoothly, slightly turned and shifted, grey on black.
        coarse: the same hand as coarse blocks: cropped, in black, grey and white only, not smoothed.
        photo_blend: the same hand blended into patches of two photographs by |patch - digit|.
        fonts: digits of the DejaVu and STIX fonts in random colours, sizes, places and turns.
        house_numbers: the same fonts, pale, blurred and noisy, with neighbouring digits cut in at the sides.

    No source digit of a test image is the source of a train image in any domain.

    Attributes:
        root: cache folder; None means `$SPLITMIX_CACHE`, else `$XDG_CACHE_HOME/splitmix`, else `~/.cache/splitmix`.
        domain_order: how many domains of the base order move from the front to the end, 0 to 4.
        domain_count: how many domains are used, the first ones of that order, 1 to 5.
    """

    root: str | None = None
    domain_order: int = 0
    domain_count: int = len(DOMAINS)

    name: ClassVar[str] = "minidigits"
    input_shape: ClassVar[tuple[int, int, int]] = (3, SIDE, SIDE)
    classes: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(CLASSES))

    @property
    def domains(self) -> tuple[str, ...]:
        """Domain names in the rotated order."""
        return (DOMAINS[self.domain_order :] + DOMAINS[: self.domain_order])[: self.domain_count]

    def check(self) -> None:
        """Refuse values that cannot work, without making any data.

        Raises:
            UserError: `domain_order` or `domain_count` is out of range, or no folder can have the name `root`.
        """
        # type() and not isinstance(): True is an int too, and is no number of domains.
        if type(self.domain_order) is not int or self.domain_order not in range(len(DOMAINS)):
            raise UserError(
                f"dataset.domain_order is {self.domain_order!r}: give a whole number from 0 to {len(DOMAINS) - 1}"
            )
        if type(self.domain_count) is not int or self.domain_count not in range(1, len(DOMAINS) + 1):
            raise UserError(
                f"dataset.domain_count is {self.domain_count!r}: give a whole number from 1 to {len(DOMAINS)}"
            )
        expanded(self.root or "")

    def prepare(self, archives: Sequence[Path], say: Callable[[str], None]) -> None:
        """Draw the images into the cache (UserError: it cannot be written)."""
        no_archives(self.name, archives)
        self.load(say)
        say(f"minidigits are at {cache_folder(self.root) / _cache_name()}")

    def load(self, progress: Callable[[str], None] | None = None, train_fraction: float = 1.0) -> Dataset:
        """Read the cache file, or draw the images (some seconds) and write it.

        Args:
            progress: called with one line for every step of the drawing; not called when the cache is good.
            train_fraction: left to the partition.

        Raises:
            UserError: `domain_order` is out of range, or the cache folder cannot be written or read.
        """
        self.check()
        folder = cache_folder(self.root)
        path = folder / _cache_name()
        try:
            arrays = _read(path, progress)
            if arrays is None:
                # Before the drawing, so that a folder that cannot be made costs no wait.
                folder.mkdir(parents=True, exist_ok=True)
                arrays = make_minidigits(progress=progress)
                with replacing(path) as file:
                    np.savez(file, allow_pickle=False, **arrays)
        except OSError as error:
            raise UserError(
                f"cannot use the cache folder {folder} ({error.strerror or error}): "
                "set dataset.root or the variable SPLITMIX_CACHE to a folder that can be written"
            ) from error
        train, test = (self._image_set(arrays, split) for split in ("train", "test"))
        return Dataset(self.name, self.domains, self.classes, train, test)

    def _image_set(self, arrays: Arrays, split: str) -> ImageSet:
        images, labels = (
            np.roll(arrays[f"{split}_{kind}"], -self.domain_order, axis=0)[: self.domain_count]
            for kind in ("images", "labels")
        )
        return ImageSet(
            torch.from_numpy(images.reshape(-1, *self.input_shape)),
            torch.from_numpy(labels.reshape(-1)),
            (labels.shape[1],) * self.domain_count,
        )


def recipe_hash(sources: Iterable[str], versions: Mapping[str, str]) -> str:
    """Twelve hex digits that change with the recipe's text or with a version of what renders it."""
    text = "\0".join([*sources, *(f"{name}={versions[name]}" for name in sorted(versions))])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cache_name() -> str:
    here = Path(__file__).parent
    sources = [(here / file).read_text(encoding="utf-8") for file in RECIPE_FILES]
    return f"minidigits-{recipe_hash(sources, {name: version(name) for name in RENDERERS})}.npz"


def _read(path: Path, progress: Callable[[str], None] | None) -> Arrays | None:
    """The arrays of a good cache file, or None if there is none or it is damaged."""
    if not os.path.lexists(path):
        return None
    expected = array_shapes()
    largest = HEADERS + sum(math.prod(shape) * dtype.itemsize for shape, dtype in expected.values())
    try:
        with open_regular(path) as opened:
            content = opened.read(largest + 1)
    except UserError:
        content = b""  # no file, but a pipe or a folder
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            # Packed arrays could unpack to more than there is memory; ours are not packed.
            if len(content) <= largest and all(info.file_size <= largest for info in file.zip.infolist()):
                arrays = {name: file[name] for name in expected}
                if _good(arrays):
                    return arrays
    # Damaged bytes make numpy and zipfile raise almost anything, and it all means the same. Failures to read the
    # disk are not among them: the bytes are in memory.
    except Exception:
        pass
    if progress:
        progress(f"minidigits: {path} is damaged and is made again")
    return None


def _good(arrays: Arrays) -> bool:
    """Whether arrays have the shapes and types of minidigits, and every domain as many labels of each class."""
    if any((arrays[name].shape, arrays[name].dtype) != expected for name, expected in array_shapes().items()):
        return False
    labels = [row for split in ("train", "test") for row in arrays[f"{split}_labels"]]
    return all((np.sort(row) == np.repeat(np.arange(CLASSES), len(row) // CLASSES)).all() for row in labels)
