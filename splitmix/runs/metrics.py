"""metrics.csv: one row per round; how it is read, and the settings of `logger=csv`."""

from __future__ import annotations

import csv
import io
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from splitmix.errors import UserError
from splitmix.reading import read_text
from splitmix.widths import normalized

if TYPE_CHECKING:
    from lightning_fabric.loggers import Logger

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


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file as numbers; empty cells are left out.

    Raises:
        UserError: it cannot be read or is damaged; the line is named.
    """
    return [{_named(name): float(value) for name, value in row.items() if value} for row in table(path)[1]]


def _named(column: str) -> str:
    """A column whose width is normalized: earlier versions wrote `val_sa/0.30000000000000004`."""
    metric, slash, width = column.partition("/")
    return f"{metric}/{normalized(float(width))}" if slash and metric in BY_WIDTH else column


def table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
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
