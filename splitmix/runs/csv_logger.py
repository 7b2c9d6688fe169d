"""metrics.csv is written through Fabric's logger interface: rows appended, or dropped where a run goes on.

Apart from reading it, since to import Lightning takes seconds.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from pathlib import Path
from typing import Any

from lightning_fabric.loggers import Logger

from splitmix.errors import UserError
from splitmix.files import without_links, write_atomically
from splitmix.runs.metrics import STEP, table

log = logging.getLogger("splitmix")


class CSVLogger(Logger):
    """Appends rows to a CSV file; a row with a new column rewrites the file with the wider header.

    Args:
        path: the file; rows that it already holds are kept.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.columns = table(path)[0] if os.path.lexists(path) else []

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
            rows = table(self.path)[1] if self.path.is_file() else []
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
        rows = table(self.path)[1] if self.path.is_file() else []
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
