"""From folders and patterns to runs: finds run folders, reads and binds what reports need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitmix.commands.differences import command_of, defaults, differences
from splitmix.commands.folders import read_config
from splitmix.commands.messages import log
from splitmix.commands.search import find_files
from splitmix.config import load_run_config
from splitmix.errors import UserError
from splitmix.reporting.runs import Run

NEEDED = ("algorithm", "dataset", "model", "seed", "started", "status", "clients", "widths", "tests")

WIDTH_KEYS = ("sa", "macs", "params")
CLIENT_KEYS = ("id", "domain", "budget", "bytes_up", "n_train", "n_val", "n_test")
TEST_KEYS = (
    "checkpoint", "sort_base_models", "bn", "width", "adv_lambda", "attack", "n_images", "accuracy", "per_client"
)  # fmt: skip


def find_runs(patterns: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and results of all runs in and below the folders that these patterns match, each once.

    Raises:
        UserError: a pattern that matches no run, a results file of another schema or damaged.
    """
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for pattern in patterns:
        files = find_files("runs", pattern, Path(pattern).expanduser(), "results.json")
        if not files:
            raise UserError(f"runs={pattern}: matches no run; give run folders, folders of runs, or patterns")
        for file in files:
            if file.parent.resolve() in found:
                continue
            found[file.parent.resolve()] = (file.parent, read_whole(file))
    return list(found.values())


def read_whole(file: Path) -> dict[str, Any]:
    """A results file with all that reports need.

    Raises:
        UserError: it is damaged, of another schema, or lacks something.
    """
    from splitmix.federation.results import read_results, status_now

    results = read_results(file)
    if absent := [key for key in NEEDED if key not in results]:
        raise UserError(f"{file} lacks {', '.join(absent)}: restore it, or leave this run out")
    widths, clients, tests = results["widths"], results["clients"], results["tests"]
    whole = (
        isinstance(widths, dict)
        and all(map(_is_number, widths))
        and _all_have(widths.values(), WIDTH_KEYS)
        and _all_have(clients, CLIENT_KEYS)
        and _all_have(tests, TEST_KEYS)
        and all(_all_have([test["attack"]], ("name",)) and len(test["per_client"]) == len(clients) for test in tests)
    )
    if not whole:
        raise UserError(f"{file} is damaged (its widths, clients or tests): restore it, or leave this run out")
    return {**results, "status": status_now(file.parent, results)}


def _all_have(items: Any, keys: Sequence[str]) -> bool:
    try:
        return all(isinstance(item, dict) and all(key in item for key in keys) for item in items)
    except TypeError:
        return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def load_run(folder: Path, results: dict[str, Any]) -> Run:
    """The run with its bound config; keys that its version of splitmix did not know yet take their defaults.

    Raises:
        UserError: a config that cannot be read or bound.
    """
    from splitmix.federation.results import changed_config

    config = read_config(folder)
    try:
        bound = load_run_config({**defaults(), **config})
    except UserError as error:
        raise UserError(f"{folder / 'config.yaml'}: {error}; mend it or leave this run out of runs=") from error
    if change := changed_config(folder, config, results):
        log.warning(f"note: {change}")
    return Run(folder, results, bound, command_of(folder, config), tuple(differences(config)))
