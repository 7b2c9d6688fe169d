"""Datasets in the format of Hugging Face's `datasets`: of its hub, or Parquet files and folders on this disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from splitmix.data.image_cache import cached, decode, decode_opened, signature
from splitmix.data.listed_images import ListedImages, Say
from splitmix.data.sources import Pixels, expanded
from splitmix.data.table import Table
from splitmix.errors import UserError
from splitmix.printing import excerpt


@dataclass(frozen=True)
class HuggingFaceImages(ListedImages):
    """Settings of `dataset=huggingface`; needs the package `datasets`.

    Attributes:
        root: a Parquet file, or a folder of Parquet files or images, on this disk; null takes `source`.
        source: a dataset of the hub, `owner/name`.
        subset: one of several configurations of a dataset of the hub.
        image, label: the columns of images and classes.
        domain: the column of domains; null for a single domain.
        train_split: the split to train on.
        test_split: the split to test on; null sets a share of every class aside.
        test_fraction: that share.
        image_size: height and width to which all images are resized.
        domain_order: how many domains move from the front to the end.
        augment: crop (after padding by an eighth of the size) and flip training images at random.
    """

    root: str | None = None
    source: str | None = None
    subset: str | None = None
    image: str = "image"
    label: str = "label"
    domain: str | None = None
    train_split: str = "train"
    test_split: str | None = "test"
    test_fraction: float = 0.2
    image_size: int = 32
    domain_order: int = 0
    augment: bool = False

    name: ClassVar[str] = "huggingface"

    @property
    def where(self) -> str:
        """The key and value that say where the images come from; UserError without one."""
        if self.root:
            return f"dataset.root={excerpt(self.root)}"
        if self.source:
            return f"dataset.source={excerpt(self.source)}"
        raise UserError(
            "dataset.root and dataset.source are not set: set root to a Parquet file or a folder, or source to a"
            " dataset of the hub"
        )

    @cached_property
    def splits(self) -> tuple[Any, ...]:
        """The splits as `datasets` has them: train, and test where there is one; images are not decoded.

        Raises:
            UserError: the package is not installed, nothing is there, or a split or column is missing.
        """
        where = self.where
        try:
            import datasets
        except ImportError as error:
            raise UserError(
                f"dataset=huggingface needs datasets ({error}): pip install 'splitmix[huggingface]'"
            ) from error
        place = expanded(self.root) if self.root else None
        if place is not None and not place.exists():
            raise UserError(f"{where}: no such file or folder; name a Parquet file, or a folder of them or of images")
        shown = datasets.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        try:
            if place is None:
                loaded = datasets.load_dataset(self.source, self.subset)
            elif place.is_dir():
                loaded = datasets.load_dataset(str(place))
            else:
                loaded = datasets.load_dataset("parquet", data_files={self.train_split: str(place)})
        except Exception as error:  # it raises nearly anything on damaged files, and what its network code raises
            raise UserError(
                f"{where}: cannot be loaded ({excerpt(' '.join(str(error).split()))}); name a dataset of the hub, a"
                " Parquet file, or a folder of them or of images"
            ) from None
        finally:
            if shown:
                datasets.enable_progress_bars()
        names = [("train_split", self.train_split)] + ([("test_split", self.test_split)] if self.test_split else [])
        chosen = []
        for key, split in names:
            if split not in loaded:
                mend = "; null sets a share of the images aside" if key == "test_split" else ""
                raise UserError(f"dataset.{key}={split}: {where} has the splits {', '.join(loaded)}{mend}")
            part = loaded[split]
            for column_key in ("image", "label", "domain"):
                column = getattr(self, column_key)
                if column is not None and column not in part.column_names:
                    raise UserError(
                        f"dataset.{column_key}={column}: the split {split} of {where} has the columns "
                        + ", ".join(part.column_names)
                    )
            try:
                chosen.append(part.cast_column(self.image, datasets.Image(decode=False)))
            except Exception:
                raise UserError(
                    f"dataset.image={self.image}: this column of {where} holds no images, but"
                    f" {excerpt(part.features[self.image])}"
                ) from None
        return tuple(chosen)

    @cached_property
    def table(self) -> Table:
        """All rows, those of the training split first."""
        feature = self.splits[0].features[self.label]
        names = tuple(getattr(feature, "names", None) or ())
        labels: list[str] = []
        domains: list[str] = []
        for part in self.splits:
            values = part[self.label]
            labels += [names[value] if names and 0 <= value < len(names) else str(value) for value in values]
            domains += [str(value) for value in part[self.domain]] if self.domain is not None else []
        splits = [split for split, part in zip(("train", "test"), self.splits, strict=False) for _ in range(len(part))]
        return Table(self.where, labels, domains, splits if self.test_split else (), self.test_fraction, names)

    def pixels(self, rows: Sequence[int], say: Say | None) -> Pixels:
        files = [Path(file["filename"]) for part in self.splits for file in part.cache_files]
        key = signature(files, self.image_size, self.image, self.train_split, self.test_split, rows)
        return cached(key, rows, self.decode_row, self.image_size, say)

    def decode_row(self, row: int) -> Pixels:
        """The image of a row of the table (UserError: none, or a damaged one)."""
        first = self.splits[0]
        part, number = (first, row) if row < len(first) else (self.splits[1], row - len(first))
        value = part[number][self.image]
        where = f"{self.where}, row {number}"
        if value is None or (value["bytes"] is None and value["path"] is None):
            raise UserError(f"{where}: has no image")
        if value["bytes"] is not None:
            return decode_opened(lambda: BytesIO(value["bytes"]), where, self.image_size)
        return decode(Path(os.fspath(value["path"])), self.image_size)
