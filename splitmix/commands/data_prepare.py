"""`splitmix data-prepare`: fetches what is public, unpacks the archives it is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitmix.binding import Component
from splitmix.commands.data import run_data_verb
from splitmix.commands.messages import log


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/data-prepare.yaml`."""

    dataset: Component
    archive: tuple[str, ...] | None


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_data_verb("data-prepare", argv, Keys, prepare)


def prepare(dataset: Any, settings: Keys) -> None:
    """Put the dataset's files where training looks for them."""
    dataset.prepare([Path(archive) for archive in settings.archive or ()], log.info)
    log.info(f"next: splitmix data-check dataset={dataset.name}")
