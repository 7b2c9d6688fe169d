"""The server of a fleet: reads what a deployment folder says, trains in its run folder, or goes on there."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from splitmix.config import load_run_config
from splitmix.deploy.server import run_deployment
from splitmix.deploy.transport import Transport
from splitmix.errors import UserError
from splitmix.fleet import read_fleet
from splitmix.reading import read_yaml
from splitmix.runs.folders import NEEDED, claimed, read_config
from splitmix.runs.training import FinishedTraining

RUN, CONFIG, FLEET = "run", "run.yaml", "fleet.yaml"
"""In a deployment folder: the run folder, the resolved config of the run, the settings of the fleet."""

log = logging.getLogger("splitmix")


def serve(folder: Path, transport: Transport) -> FinishedTraining | None:
    """Train the run of a deployment folder on the nodes that the transport reaches.

    What was begun there goes on from its last checkpoint.

    Raises:
        UserError: a file that is missing or wrong; see `run_deployment`.
    """
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stdout))
    run = folder / RUN
    fleet = read_fleet(folder / FLEET)
    run.mkdir(parents=True, exist_ok=True)
    with claimed(run):
        begun = all(os.path.isfile(run / name) for name in NEEDED)
        # A run's own config counts once it has begun.
        resolved = read_config(run) if begun else read_yaml(folder / CONFIG)
        if not isinstance(resolved, dict):
            raise UserError(f"{folder / CONFIG}: no config of a run")
        config = load_run_config(resolved)
        if begun:
            log.info(f"resuming {run}")
        return run_deployment(config, run, resolved, fleet, transport, resume=begun)
