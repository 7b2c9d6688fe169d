"""results.json of a run folder: what was run, on which clients, with which accuracies."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import splitmix
from splitmix.config_hash import config_hash, former_hash
from splitmix.errors import UserError
from splitmix.federation.federation import Federation
from splitmix.files import write_atomically
from splitmix.locks import CLAIM, Busy, is_locked, locked
from splitmix.payload import payload_bytes
from splitmix.runs.results_file import LACKED, SCHEMA, read_results

RESULTS_LOCK = ".results.lock"
LOCK_WAIT_S = 30.0
PACKAGES = ("splitmix", "torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "thop")


def describe_run(federation: Federation, identity: dict[str, Any]) -> dict[str, Any]:
    """The part of results.json that is known before the first round.

    Args:
        identity: algorithm, dataset, model, seed, rounds, config_hash, started.
    """
    payload = {budget: payload_bytes(federation.method.upload_entries(budget)) for budget in set(federation.budgets)}
    attackers = federation.method.problem.malicious.attackers(len(federation.clients), federation.seed)
    clients = [
        {
            "id": client.id,
            "domain": client.domain,
            "budget": budget,
            "n_train": len(client.train),
            "n_val": len(client.val),
            "n_test": len(client.test),
            "bytes_down": payload[budget],
            "bytes_up": payload[budget],
            **({"malicious": True} if number in attackers else {}),
        }
        for number, (client, budget) in enumerate(zip(federation.clients, federation.budgets, strict=True))
    ]
    return {
        "schema": SCHEMA,
        **identity,
        "git": git_commit(),
        "versions": versions(),
        "wall_s": 0.0,
        "best_round": None,
        "status": "running",
        "clients": clients,
        "widths": {},
        "tests": [],
    }


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write results.json atomically, whatever it held before; see `update_results`."""
    write_atomically(path, lambda file: file.write((json.dumps(results, indent=1, allow_nan=False) + "\n").encode()))


def update_results(path: Path, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Read results.json, change it and write it, one process at a time: what others wrote meanwhile is kept.

    Args:
        change: changes the results in place.

    Returns:
        What was written.

    Raises:
        UserError: it cannot be read or written, or another process keeps it for long.
    """
    try:
        with locked(path.with_name(RESULTS_LOCK), LOCK_WAIT_S):
            results = read_results(path)
            change(results)
            write_results(path, results)
    except Busy:
        raise UserError(
            f"cannot write {path}: another process has been writing it for {LOCK_WAIT_S:g} s; stop that one, and try"
            " again"
        ) from None
    return results


def status_now(folder: Path, results: Mapping[str, Any]) -> str:
    """The status of a run; `stopped` if it says that it is running and no process trains there."""
    status: str = results["status"]
    return "stopped" if status == "running" and not is_locked(folder / CLAIM) else status


def changed_config(folder: Path, resolved: Mapping[str, Any], results: Mapping[str, Any]) -> str | None:
    """What is wrong if a run's config.yaml is not the one that it began with, in words; else None."""
    digest = config_hash(resolved)
    if results.get("config_hash") in (None, digest, former_hash(resolved)):
        return None
    return (
        f"{folder / 'config.yaml'} was changed after the run began (its hash is {digest}, in results.json"
        f" {results['config_hash']})"
    )


def results_to_resume(folder: Path, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The results of a run that is to go on with this config; UserError if they cannot be read or are of another."""
    results = read_results(folder / "results.json")
    if change := changed_config(folder, resolved, results):
        raise UserError(f"{change}: restore it, or train anew; a resumed run would have the numbers of neither")
    return results


def add_tests(results: dict[str, Any], records: list[dict[str, Any]], images: str = "test") -> None:
    """Add test records, replacing those of the same question; what only a former one measured stays with it.

    They stay if the former record is of the same model: of the same round, and with the same accuracies. Records of
    validation images stand apart, as `validation_tests`, so that no report takes them for tests.
    """
    place = "validation_tests" if images == "validation" else "tests"
    keys = ("checkpoint", "sort_base_models", "bn", "mix", "width", "adv_lambda", "attack", "n_images")
    same = ("round", "per_client")
    asked = [[{**LACKED, **record}[key] for key in keys] for record in records]
    kept, added = [], [dict(record) for record in records]
    for former in results.get(place, []):
        question = [{**LACKED, **former}[key] for key in keys]
        if question not in asked:
            kept.append(former)
            continue
        record = added[asked.index(question)]
        if "round" in former and all(former[key] == record.get(key) for key in same):
            if metrics := {**former.get("metrics", {}), **record.get("metrics", {})}:
                record["metrics"] = metrics
            for key in ("confusion_matrix", "anytime", "corruptions", "transfer", "sanity", "loss", "low", "high"):
                if key in former:
                    record.setdefault(key, former[key])
    results[place] = kept + added


def versions() -> dict[str, str]:
    """Versions of what a number can depend on."""
    numbers = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    return numbers


def git_commit(package: Path = Path(splitmix.__file__).parent) -> str | None:
    """The commit of the checkout of splitmix that the package lies in.

    None outside one: a repository that merely surrounds an installed package says nothing about it.
    """

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=package.parent, env=environment, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # What a git hook sets would point git at its own repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    top = git("rev-parse", "--show-toplevel")
    tracked = git("ls-files", "--error-unmatch", "pyproject.toml", f"{package.name}/__init__.py")
    ours = top is not None and Path(top).resolve() == package.parent.resolve() and tracked is not None
    return git("rev-parse", "HEAD") if ours else None
