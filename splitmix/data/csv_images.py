"""Anyone's own images: a CSV file of paths and labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from splitmix.data.image_cache import decoded
from splitmix.data.listed_images import ListedImages, Say
from splitmix.data.sources import Pixels, require_folder
from splitmix.data.table import Table
from splitmix.errors import UserError
from splitmix.printing import excerpt
from splitmix.reading import read_text

COLUMNS = ("path", "label", "domain", "split")
MOST_BYTES = 512 * 2**20
"""Of a CSV file: several million rows."""


@dataclass(frozen=True)
class CsvImages(ListedImages):
    """Settings of `dataset=csv`: a table with the columns `path` and `label`, and perhaps `domain` and `split`.

    Paths are relative to the folder `root`. Without the column `domain` there is one domain; without the column `split`
    (`train` or `test`) a share of every class is set aside for testing. Other columns are ignored.

    Attributes:
        root: the folder that holds the table.
        file: the table, in `root`.
        test_fraction: share of every class of every domain for testing, where the table has no column `split`.
        image_size: height and width to which all images are resized.
        domain_order: how many domains move from the front to the end.
        augment: crop (after padding by an eighth of the size) and flip training images at random.
    """

    root: str | None = None
    file: str = "images.csv"
    test_fraction: float = 0.2
    image_size: int = 32
    domain_order: int = 0
    augment: bool = False

    name: ClassVar[str] = "csv"

    @property
    def folder(self) -> Path:
        """The root; UserError if it or the table is not there."""
        return require_folder(
            self.root, [self.file], "set dataset.root to the folder and dataset.file to the CSV file in it"
        )

    @cached_property
    def frame(self) -> Any:
        """The table, all of it text; UserError for a file that is no such table."""
        path = self.folder / self.file
        text = read_text(path, MOST_BYTES).removeprefix("\ufeff")  # as Excel begins them
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of rows with more fields than columns
            try:
                frame = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, index_col=False)
            except (ValueError, Warning) as error:
                raise UserError(f"{excerpt(path)} is no table of comma-separated values ({excerpt(error)})") from None
        for column in COLUMNS[:2]:
            if column not in frame.columns:
                raise UserError(
                    f"{excerpt(path)} has no column {column}, only {excerpt(', '.join(frame.columns))}: its first line"
                    " must name path and label, and may name domain and split"
                )
        return frame

    @cached_property
    def table(self) -> Table:
        columns = {column: self.frame[column].tolist() for column in COLUMNS if column in self.frame.columns}
        domains, splits = columns.get("domain", ()), columns.get("split", ())
        return Table(excerpt(self.folder / self.file), columns["label"], domains, splits, self.test_fraction)

    def pixels(self, rows: Sequence[int], say: Say | None) -> Pixels:
        paths = self.frame["path"].tolist()
        return decoded([self.folder / paths[row] for row in rows], self.image_size, say)
