"""`splitmix data-list`: the datasets, and whether their files are there."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from splitmix.binding import bind
from splitmix.commands.application import run_application
from splitmix.commands.help import groups, header, option_folders
from splitmix.commands.messages import log
from splitmix.errors import UserError


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("data-list", argv, show)


def show(cfg: DictConfig) -> None:
    """Print every option of the group `dataset` with its state under the default settings."""
    for file in groups(option_folders())["dataset"]:
        try:
            bind(OmegaConf.to_container(OmegaConf.load(file)), "dataset").check()
            state = "ready"
        except UserError as error:
            state = f"not there: {error}"
        log.info(f"{file.stem:<12} {header(file)}\n{'':<12} {state}")
