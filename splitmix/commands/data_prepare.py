"""`splitmix data-prepare`: fetches what is public, unpacks the archives it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitmix.binding import convert
from splitmix.commands.application import log
from splitmix.commands.data import run_data_verb


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_data_verb("data-prepare", argv, ("dataset", "archive"), prepare)


def prepare(dataset: Any, values: dict[str, Any]) -> None:
    """Put the dataset's files where training looks for them."""
    archives = () if values["archive"] is None else convert(values["archive"], tuple[str, ...], "archive")
    dataset.prepare([Path(archive) for archive in archives], log.info)
    log.info(f"next: splitmix data-check dataset={dataset.name}")
