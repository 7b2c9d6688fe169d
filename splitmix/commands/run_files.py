"""From folders and patterns to runs: finds run folders, reads and binds what reports need."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitmix.binding import Trusted
from splitmix.commands.differences import command_of, defaults, differences
from splitmix.commands.messages import log
from splitmix.commands.trust import trusted_targets
from splitmix.config import load_run_config
from splitmix.errors import UserError
from splitmix.runs.folders import read_config
from splitmix.runs.results_file import read_results
from splitmix.runs.run import Run
from splitmix.runs.search import find_files


def results_of(patterns: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and results of all runs in and below the folders that these patterns match, each once.

    Raises:
        UserError: a pattern that matches no run, a results file of another schema or damaged.
    """
    runs: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for pattern in patterns:
        files = find_files("runs", pattern, Path(os.path.expanduser(pattern)), "results.json")
        if not files:
            raise UserError(f"runs={pattern}: matches no run; give run folders, folders of runs, or patterns")
        for file in files:
            if file.parent.resolve() in runs:
                continue
            runs[file.parent.resolve()] = (file.parent, current_results(file.parent))
    return list(runs.values())


def current_results(folder: Path) -> dict[str, Any]:
    """The results of a run, its status as it is now; UserError if they cannot be read."""
    from splitmix.runs.results import status_now

    results = read_results(folder / "results.json")
    return {**results, "status": status_now(folder, results)}


def load_run(folder: Path, results: dict[str, Any], trusted: Trusted | None = None) -> Run:
    """The run with its bound config; keys that its version of splitmix did not know yet take their defaults.

    Args:
        trusted: what may be imported for it, by group; None is our own components alone.

    Raises:
        UserError: a config that cannot be read or bound.
    """
    from splitmix.runs.results import changed_config

    config = read_config(folder)
    try:
        bound = load_run_config({**defaults(), **config}, trusted_targets() if trusted is None else trusted)
    except UserError as error:
        raise UserError(f"{folder / 'config.yaml'}: {error}; mend it or leave this run out") from error
    if change := changed_config(folder, config, results):
        log.warning(f"note: {change}")
    return Run(folder, results, bound, command_of(folder, config), tuple(differences(config)))
