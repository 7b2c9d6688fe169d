"""`splitmix import`: a checkpoint of the method authors' code becomes a run folder."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from splitmix.binding import convert
from splitmix.commands.application import run_application
from splitmix.commands.messages import log
from splitmix.config import load_run_config, resolve
from splitmix.quoting import command


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("import", argv, import_)


def import_(cfg: DictConfig) -> None:
    """Import the checkpoint that the config names."""
    resolved = resolve(cfg)
    file, out = (Path(convert(resolved.pop(key), str, key)) for key in ("file", "out"))
    config = load_run_config(resolved)
    from splitmix.runs.import_reference import import_reference

    state = import_reference(config, {**resolved, "resume": None}, file, out)
    log.info(f"{out}: {config.algorithm.name} after {state.round} rounds, from {file}")
    log.info(f"next: {command('test', run=out)}")
