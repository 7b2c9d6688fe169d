"""The hash of a run's config: equal for configs that give the same numbers, in every version of splitmix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from splitmix.binding import FORMER_TARGETS
from splitmix.config import HONEST, MEAN, NO_PRIVACY, NO_SERVER_OPTIMIZER

ADDED_LATER: dict[str, dict[str, Any]] = {
    "algorithm": {"base_widths": None, "draw": "batch", "label_aware": False, "lambdas": [], "weighting": "samples"},
    "budget": {"redraw": "never"},
    "dataset": {"domain_count": 5},
    "optimizer": {"clip_norm": None},
}
"""Keys of options that earlier versions lacked, with the value that leaves the numbers as they were."""
KEYS_ADDED_LATER = {
    "aggregation": MEAN,
    "fleet": None,
    "malicious": HONEST,
    "privacy": NO_PRIVACY,
    "server_optimizer": NO_SERVER_OPTIMIZER,
    "validate_clients": None,
}
"""The same at the top level."""
NOT_HASHED = ("name", "engine", "logger", "resume", "hydra", "test", "fit_data", "trust", "checkpoint_rounds")


def config_hash(resolved: Mapping[str, Any]) -> str:
    """12 hex digits of everything that decides a run's numbers: not name, engine, logger, resume, and of `test` only
    `max_images`, where RA is validated on so many images.
    """
    test, algorithm = resolved.get("test"), resolved.get("algorithm")
    if isinstance(test, Mapping) and isinstance(algorithm, Mapping):
        # Read from the keys alone: the hash of a folder must not import what its config names.
        sees_attacks = algorithm.get("adv_lambda") or algorithm.get("lambdas")
        if sees_attacks and test.get("max_images") is not None:
            return _hash(resolved, {"test": {"max_images": test["max_images"]}})
    return _hash(resolved, {})


def former_hash(resolved: Mapping[str, Any]) -> str:
    """The hash that earlier versions stored for this config: it left `test.max_images` out."""
    return _hash(resolved, {})


def _hash(resolved: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    kept = {key: _by_first_name(value) for key, value in resolved.items() if key not in NOT_HASHED}
    # What earlier versions lacked counts only where it changes numbers, so that their runs are known again.
    kept = _without(KEYS_ADDED_LATER, kept)
    kept = {group: without_added(group, node) for group, node in kept.items()}
    text = json.dumps({key: _canonical(value) for key, value in {**kept, **more}.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def without_added(group: str, node: Any) -> Any:
    """A group's node less the keys that earlier versions lacked, where these leave the numbers as they were."""
    return _without(ADDED_LATER.get(group, {}), node) if isinstance(node, Mapping) else node


def _without(added: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values less those that were added later and leave the numbers as they were."""
    return {key: value for key, value in values.items() if key not in added or value != added[key]}


def _by_first_name(node: Any) -> Any:
    """A group's node with its class under the first name that it ever had: a class that moves is no other run."""
    if not isinstance(node, Mapping) or node.get("_target_") not in FORMER_TARGETS.values():
        return node
    first = next(former for former, current in FORMER_TARGETS.items() if current == node["_target_"])
    return {**node, "_target_": first}


def _canonical(value: Any) -> Any:
    # train_fraction=1 and the file's 1.0 are the same run.
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
