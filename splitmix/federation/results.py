"""results.json of a run folder: what was run, on which clients, with which accuracies."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from splitmix.federation.federation import FLOAT32_BYTES, Federation
from splitmix.federation.results_file import SCHEMA
from splitmix.federation.results_file import read_results as read_results
from splitmix.files import write_atomically

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


def git_commit() -> str | None:
    """The commit of the checkout that splitmix runs from; None outside one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return answer.stdout.strip() or None
