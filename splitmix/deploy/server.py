"""A training run on real devices: the same folder, files and test as a simulation's, through a transport."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from splitmix.config import RunConfig
from splitmix.config_hash import config_hash
from splitmix.deploy.fleet import refuse_meaningless
from splitmix.deploy.remote import RemoteFederation
from splitmix.deploy.transport import Transport
from splitmix.fleet import Fleet
from splitmix.runs.training import FinishedTraining, run_training

NOT_SENT = ("logger", "test", "name", "resume", "trust", "hydra")
"""What is the server's alone; nodes are sent harmless values for it."""


def run_deployment(
    config: RunConfig, folder: Path, resolved: dict[str, Any], fleet: Fleet, transport: Transport, resume: bool = False
) -> FinishedTraining | None:
    """Train a federation on the nodes of a fleet, or go on with one that stopped; see `run_training`.

    Raises:
        UserError: a setting that means nothing on devices, clients that do not come, too few good updates.
    """
    fleet.check()
    refuse_meaningless(config, resolved, fleet)
    check_parts(config)
    build = partial(remote, resolved=resolved, folder=folder, fleet=fleet, transport=transport)
    return run_training(config, folder, resolved, resume, build=build)


def check_parts(config: RunConfig) -> None:
    """Let every part of a run check itself, but the dataset, which is checked where the images are (UserError)."""
    for part in (config.optimizer, config.schedule, config.server_optimizer, config.engine, config.logger):
        part.check()
    config.train_attack.check("train_attack")


def remote(
    config: RunConfig,
    resolved: Mapping[str, Any],
    folder: Path,
    fleet: Fleet,
    transport: Transport,
    loggers: list[Any] | None = None,
    say: Any = None,
) -> RemoteFederation:
    """The federation of a fleet, in place of `build_federation`."""
    name = run_name(folder, resolved)
    return RemoteFederation(config, sent_config(resolved), fleet, transport, folder, name, loggers or [])


def run_name(folder: Path, resolved: Mapping[str, Any]) -> str:
    """What nodes file a run under: of its folder's name and its config, hex digits."""
    return hashlib.sha256(f"{folder.name}\0{config_hash(resolved)}".encode()).hexdigest()[:16]


def sent_config(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The run's config as nodes are sent it: without paths and without what concerns the server alone."""
    sent = {key: value for key, value in resolved.items() if key not in NOT_SENT}
    dataset = {**resolved["dataset"], "root": None}
    plain = {
        "name": "run",
        "logger": {"_target_": "splitmix.runs.metrics.CSV"},
        "test": {"_target_": "splitmix.test_settings.TestSettings"},
    }
    return {**sent, **plain, "dataset": dataset}
