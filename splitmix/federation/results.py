"""results.json of a run folder: what was run, on which clients, with which accuracies."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import splitmix
from splitmix.errors import UserError
from splitmix.federation.federation import FLOAT32_BYTES, Federation
from splitmix.files import write_atomically

SCHEMA = 1
PACKAGES = ("splitmix", "torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "thop")


def describe_run(federation: Federation, identity: dict[str, Any]) -> dict[str, Any]:
    """The part of results.json that is known before the first round.

    Args:
        identity: algorithm, dataset, model, seed, rounds, config_hash, started.
    """
    payload = {budget: FLOAT32_BYTES * federation.method.upload_entries(budget) for budget in set(federation.budgets)}
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
        }
        for client, budget in zip(federation.clients, federation.budgets, strict=True)
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


def read_results(path: Path) -> dict[str, Any]:
    """Read results.json; UserError if it is missing, truncated or of another schema."""
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): is this a run folder?") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise UserError(f"{path} is not a results file of schema {SCHEMA}: use the version of splitmix that wrote it")
    return results


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write results.json atomically."""
    write_atomically(path, lambda file: file.write((json.dumps(results, indent=1) + "\n").encode()))


def add_tests(results: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Add test records, replacing those of the same question."""
    keys = ("checkpoint", "sort_base_models", "bn", "width", "adv_lambda", "attack", "n_images")
    asked = [[record[key] for key in keys] for record in records]
    kept = [record for record in results["tests"] if [record[key] for key in keys] not in asked]
    results["tests"] = kept + records


def versions() -> dict[str, str]:
    """Versions of what a number can depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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
