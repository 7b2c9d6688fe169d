"""`splitmix deploy-demo`: Flower's server and nodes on this machine, a run on them, its table."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from splitmix.commands.application import run_application
from splitmix.commands.messages import log, log_to_file
from splitmix.config import load_run_config, resolve
from splitmix.engine.before_torch import choose_instructions
from splitmix.errors import UserError
from splitmix.quoting import command
from splitmix.runs.folders import refuse_run_in


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("deploy-demo", argv, demo)


def demo(cfg: DictConfig) -> None:
    """Run the demonstration that the config asks for, and print the table that training prints."""
    if sys.version_info < (3, 11):
        raise UserError("deploy-demo: Flower needs Python 3.11 or newer")
    resolved = resolve(cfg)
    choose_instructions(resolved.get("engine"))
    clients, port, seconds = (resolved.pop(key) for key in ("clients", "port", "round_seconds"))
    simulation = resolved.pop("simulation")
    for key, value, low in (("clients", clients, 1), ("port", port, 1), ("round_seconds", seconds, 1)):
        if value is not None and (type(value) is not int or not low <= value < 2**16):
            raise UserError(f"{key}={value}: give a whole number from {low}")
    if type(simulation) is not bool:
        raise UserError(f"simulation={simulation}: give true or false")
    if clients is None or seconds is None:
        raise UserError("clients, round_seconds: give a number")
    folder = Path(HydraConfig.get().runtime.output_dir)
    refuse_run_in(folder / "run")
    log_to_file(folder / "demo.log")
    from splitmix.deploy.demo import demo_config, run_demo
    from splitmix.federation.build import check_config
    from splitmix.reporting.figures import draw_convergence
    from splitmix.reporting.tables import print_table, width_table
    from splitmix.runs.finished_rows import finished_rows

    # A kill asks for the same tidying up as Ctrl-C.
    signal.signal(signal.SIGTERM, interrupt)
    resolved = demo_config(resolved, clients)
    run = run_demo(resolved, folder, port, float(seconds), simulation)
    rows = finished_rows(run, check_config(load_run_config(resolved)))
    draw_convergence(run)
    print_table(width_table(rows))
    log.info(f"run folder: {run}")
    log.info(f"next: {command('status', run=run)}")


def interrupt(number: int, frame: FrameType | None) -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt
