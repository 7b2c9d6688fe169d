"""metrics.csv: one row per round, written through Fabric's logger interface."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lightning_fabric.loggers import Logger

from splitmix.errors import UserError
from splitmix.files import without_links, write_atomically
from splitmix.reading import read_text
from splitmix.widths import normalized

if TYPE_CHECKING:
    from splitmix.runs.loggers import TrackedRun

STEP = "round"
ROUND = re.compile(r"[0-9]{1,9}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
BY_WIDTH = ("val_sa", "val_ra")
"""Metrics of which there is a column for every width."""

log = logging.getLogger("splitmix")


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
        self.columns = _table(path)[0] if os.path.lexists(path) else []

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
            rows = _table(self.path)[1] if self.path.is_file() else []
            self.columns += new
            self._replace([*rows, row])
            return
        try:
            with open(self.path, "a", newline="", opener=without_links) as file:
                csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room, then go on with splitmix train resume=latest"
            ) from error

    def truncate(self, step: int) -> None:
        """Drop rows from round `step` on, and a last line that was cut short: a resumed run writes them anew.

        A file that is not there is begun anew, which is told.

        Raises:
            UserError: rows before round `step` are missing, a cell is damaged, or the file cannot be written.
        """
        rows = _table(self.path)[1] if self.path.is_file() else []
        kept = [row for row in rows if int(row[STEP]) < step]
        rounds = [int(row[STEP]) for row in kept]
        first = rounds[0] if rounds else step
        if rounds != list(range(first, step)) or (self.path.is_file() and first == step > 0):
            raise UserError(
                f"{self.path} lacks rounds before round {step}, where the checkpoint goes on: restore it, or remove it"
                " to go on without the metrics of these rounds"
            )
        if first:
            log.warning(f"{self.path} begins with round {first}: the metrics of earlier rounds are lost")
        if self.path.is_file():
            self._replace(kept)

    def _replace(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        if self.columns:
            writer.writeheader()
            writer.writerows(rows)
        write_atomically(self.path, lambda file: file.write(text.getvalue().encode()))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file as numbers; empty cells are left out.

    Raises:
        UserError: it cannot be read or is damaged; the line is named.
    """
    return [{_named(name): float(value) for name, value in row.items() if value} for row in _table(path)[1]]


def _named(column: str) -> str:
    """A column whose width is normalized: earlier versions wrote `val_sa/0.30000000000000004`."""
    metric, slash, width = column.partition("/")
    return f"{metric}/{normalized(float(width))}" if slash and metric in BY_WIDTH else column


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a metrics file, without a last line that has no end: a kill while writing leaves one.

    Raises:
        UserError: it cannot be read, or a cell is neither empty nor a finite number.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]), strict=True)
    try:
        header = next(reader, [])
        _check_header(header)
        rows: list[dict[str, str]] = []
        for cells in reader:
            row = dict(zip(header, cells, strict=True))
            wrong = [f"{name} is {value}" for name, value in row.items() if value and not _is_number(value)]
            if wrong:
                raise ValueError(wrong[0])
            if not ROUND.fullmatch(row[STEP]) or (rows and int(row[STEP]) <= int(rows[-1][STEP])):
                raise ValueError(f"{STEP} is {row[STEP]}: rounds are whole and ascend")
            rows.append(row)
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path} cannot be read (line {reader.line_num}: {error}); restore it") from error
    return header, rows


def _check_header(header: list[str]) -> None:
    if header and (STEP not in header or len(set(header)) < len(header)):
        raise ValueError(f"the header needs the column {STEP}, and each column once")
    for name in header:
        metric, _, width = name.partition("/")
        if metric in BY_WIDTH and not _is_number(width):
            raise ValueError(f"{name} names no width")


def _is_number(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None and math.isfinite(float(text))
