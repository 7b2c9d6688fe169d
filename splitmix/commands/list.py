"""`splitmix list`: every config group with its options and a line on each."""

from __future__ import annotations

from omegaconf import DictConfig

from splitmix.commands.application import run_application
from splitmix.commands.help import groups, header


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("list", argv, show)


def show(cfg: DictConfig) -> None:
    """Print groups and options."""
    for group, files in groups().items():
        print(group)
        for file in files:
            print(f"  {file.stem:<12} {header(file)}")
