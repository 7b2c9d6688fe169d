"""metrics.csv: one row per round, written through Fabric's logger interface."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lightning_fabric.loggers import Logger

from splitmix.errors import UserError
from splitmix.files import write_atomically
from splitmix.widths import normalized

if TYPE_CHECKING:
    from splitmix.reporting.loggers import TrackedRun

STEP = "round"
BY_WIDTH = ("val_sa", "val_ra")
"""Metrics of which there is a column for every width."""


@dataclass(frozen=True)
class CSV:
    """Settings of `logger=csv`: none, metrics.csv is always there."""

    name: ClassVar[str] = "csv"

    def check(self) -> None:
        """Nothing can be wrong."""

    def trackers(self, run: TrackedRun) -> list[Logger]:
        """No tracker beside metrics.csv."""
        return []


class CSVLogger(Logger):
    """Appends rows to a CSV file; a row with a new column rewrites the file with the wider header.

    Args:
        path: the file; rows that it already holds are kept.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.columns = _header(path) if path.is_file() else []

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder holds its config."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row; a column without a value stays empty.

        Args:
            metrics: value by column.
            step: the round, 0-based.

        Raises:
            UserError: the file cannot be written.
        """
        row = {STEP: str(step), **{name: str(value) for name, value in metrics.items()}}
        new = [column for column in row if column not in self.columns]
        if new:
            rows = _rows(self.path) if self.path.is_file() else []
            self.columns += new
            self._replace([*rows, row])
            return
        try:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room, then go on with splitmix train resume=latest"
            ) from error

    def truncate(self, step: int) -> None:
        """Drop rows from round `step` on, and a last line that was cut short: a resumed run writes them anew.

        Raises:
            UserError: the file cannot be written.
        """
        if self.path.is_file():
            self._replace([row for row in _rows(self.path) if int(row[STEP]) < step])

    def _replace(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        if self.columns:
            writer.writeheader()
            writer.writerows(rows)
        write_atomically(self.path, lambda file: file.write(text.getvalue().encode()))


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_complete_lines(path)))


def _header(path: Path) -> list[str]:
    return next(csv.reader(_complete_lines(path)), [])


def _complete_lines(path: Path) -> io.StringIO:
    """The file without a last line that has no end: a kill while writing leaves one."""
    text = path.read_text()
    return io.StringIO(text[: text.rfind("\n") + 1])


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file as numbers; empty cells are left out."""
    return [{_named(name): float(value) for name, value in row.items() if value} for row in _rows(path)]


def _named(column: str) -> str:
    """A column whose width is normalized: earlier versions wrote `val_sa/0.30000000000000004`."""
    metric, slash, width = column.partition("/")
    return f"{metric}/{normalized(float(width))}" if slash and metric in BY_WIDTH else column
