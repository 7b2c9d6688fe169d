"""Run folders as `splitmix train` and `splitmix test` leave them, with numbers of the test's choice."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from splitmix.commands.help import composed, groups
from splitmix.config import load_run_config, resolve
from splitmix.config_hash import config_hash

DOMAINS = ("handwritten", "coarse")
BUDGETS = (0.125, 0.25, 0.5, 1.0)


@cache
def base_config(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The resolved config of `splitmix train` with these overrides, as Hydra composes it."""
    return resolve(composed("train", list(overrides)))


@cache
def config_of(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The same; a tenth of a second of Hydra is spent on options of groups alone, plain values are put in by hand."""
    names = groups()
    options = tuple(
        word
        for word in overrides
        if word.partition("=")[0] in names or not re.fullmatch(r"[\w.]+=[\w.\-/\[\], ]*", word)
    )
    config = deepcopy(base_config(options))
    for word in overrides:
        key, _, value = word.partition("=")
        if word not in options:
            *path, last = key.split(".")
            node = config
            for name in path:
                node = node[name]
            assert last in node and not isinstance(node[last], dict), f"{word}: no plain value, let Hydra compose it"
            node[last] = yaml.safe_load(value)
    return config


def record(width: float, accuracy: float, **changes: Any) -> dict[str, Any]:
    """One test record of four clients, the first two of which are a tenth better than the mean, the others worse."""
    base = {"checkpoint": "best", "sort_base_models": False, "bn": "trained", "width": width, "adv_lambda": 0.0}
    base |= {
        "attack": {"name": "none"},
        "n_images": 400,
        "accuracy": accuracy,
        "command": "splitmix test",
        "seconds": 1.0,
    }
    better, worse = min(1.0, accuracy + 0.1), max(0.0, accuracy - 0.1)
    return {**base, "per_client": [better, better, worse, worse], **changes}


def measured(pooled: float = 0.5, names: Sequence[str] = ("accuracy", "calibration_error", "nll")) -> dict[str, Any]:
    """What `test.metrics` adds to a record of two domains and two classes, each a tenth off `pooled`."""
    values = {
        "pooled": pooled,
        "per_domain": {DOMAINS[0]: pooled + 0.1, DOMAINS[1]: pooled - 0.1},
        "per_class": {"cat": pooled + 0.1, "dog": None},
    }
    metrics = {name: dict(values) for name in names}
    if "calibration_error" in metrics:
        metrics["calibration_error"]["confidence"] = 0.25
    matrix = {"classes": ["cat", "dog"], "pooled": [[3, 1], [0, 4]], "per_domain": {DOMAINS[0]: [[1, 0], [0, 1]]}}
    return {"metrics": metrics, "confusion_matrix": matrix}


def anytime(shift: float = 0.0) -> dict[str, list[float]]:
    """What `test.anytime` adds to a record of four base models of 1.25 million MACs."""
    accuracy = [0.7 + shift, 0.81 + shift, 0.815 + shift]
    return {"until": [0.2, 0.6, 1.0], "accuracy": accuracy, "base_models": [1, 2.4, 4], "macs": [1.25e6, 3e6, 5e6]}


def write_run(
    folder: Path,
    overrides: Sequence[str],
    sa: Mapping[float, float],
    *,
    tests: Sequence[dict[str, Any]] = (),
    validation: Sequence[float] = (0.5, 0.6),
    budgets: Sequence[float] = BUDGETS,
    domains: Sequence[str] = DOMAINS,
    results: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a finished run of four clients in two domains; `changes` and `results` are of results.json.

    Args:
        sa: final accuracy by width; MACs and parameters are 10 and 1 million times the width.
        tests: records besides those of the final test.
        validation: SA of all widths after each round.
    """
    folder.mkdir(parents=True)
    config = config_of(tuple(overrides))
    bound = load_run_config(config)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(list(overrides)))
    clients = [
        {
            "id": f"{n // 2}-{n % 2}",
            "domain": domains[n // 2],
            "budget": budget,
            "n_train": 10,
            "n_val": 5,
            "n_test": 100,
        }
        | {"bytes_down": int(4e6 * budget), "bytes_up": int(4e6 * budget)}
        for n, budget in enumerate(budgets)
    ]
    content = {
        "schema": 1,
        "algorithm": bound.algorithm.name,
        "dataset": bound.dataset.name,
        "model": bound.model.name,
        "seed": bound.scalars.seed,
        "rounds": bound.scalars.rounds,
        "config_hash": config_hash(config),
        "started": f"2026-01-01T00:00:{bound.scalars.seed:02}+00:00",
        "git": "0123abc",
        "versions": {"python": "3.11", "torch": "2.14"},
        "wall_s": 61.0,
        "best_round": 1,
        "status": "finished",
        "clients": clients,
        "widths": {str(float(w)): {"sa": v, "macs": 1e7 * w, "params": int(1e6 * w)} for w, v in sa.items()},
        "tests": [record(width, value, command="splitmix train") for width, value in sa.items()] + list(tests),
    }
    (folder / "results.json").write_text(json.dumps({**content, **changes, **(results or {})}))
    with open(folder / "metrics.csv", "w", newline="") as file:
        names = [f"val_sa/{float(width)}" for width in sa]
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["round", "train_loss", *names])
        writer.writerows([number, 1.0, *([value] * len(names))] for number, value in enumerate(validation))
    return folder


def attacked(points: Mapping[tuple[float, float], tuple[float, float]], name: str = "linf_pgd") -> list[dict[str, Any]]:
    """Clean and attacked records of (SA, RA) by width and λ."""
    attack = {"name": name, "eps": 8.0, "steps": 7}
    return [
        one
        for (width, adv_lambda), (sa, ra) in points.items()
        for one in (
            record(width, sa, adv_lambda=adv_lambda, n_images=200),
            record(width, ra, adv_lambda=adv_lambda, n_images=200, attack=attack),
        )
    ]
