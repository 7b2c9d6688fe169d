"""`splitmix deploy-init`: the folder of a fleet: app, keys, certificates, start scripts, services."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from splitmix.binding import bind_settings
from splitmix.commands.application import run_application
from splitmix.commands.messages import log
from splitmix.config import resolve
from splitmix.engine.before_torch import choose_instructions
from splitmix.errors import UserError


@dataclasses.dataclass(frozen=True)
class Keys:
    """The keys of `conf/deploy-init.yaml` that are not the run's or the fleet's."""

    out: str
    force: bool


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("deploy-init", argv, init)


def init(cfg: DictConfig) -> None:
    """Make the folder that the config describes, and say what comes next."""
    if sys.version_info < (3, 11):
        raise UserError("deploy-init: Flower needs Python 3.11 or newer")
    if cfg.get("host", None) is None:
        raise UserError("host: give the name or address by which the devices reach the server, such as host=10.0.0.5")
    resolved = resolve(cfg)
    choose_instructions(resolved.get("engine"))
    keys = bind_settings(Keys, {key: resolved.pop(key) for key in ("out", "force")})
    if not keys.out:
        raise UserError("out= is empty: name a folder")
    try:
        from splitmix.deploy.init import FleetPlan, init_fleet
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'splitmix[flower]'") from error
    names = [field.name for field in dataclasses.fields(FleetPlan)]
    plan = bind_settings(FleetPlan, {name: resolved.pop(name) for name in names})
    former = init_fleet(plan, resolved, Path(keys.out), keys.force)
    if former is not None:
        log.info(f"the former folder is now {former}")
    log.info(f"made {os.path.abspath(keys.out)}: the steps from here are in its README.md")
