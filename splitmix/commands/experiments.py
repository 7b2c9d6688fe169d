"""What an experiment file will do: the axes of its grid and the number of its jobs, read without composing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


def grid(path: Path) -> dict[str, str]:
    """Values by key, as on the command line, with those of the files that it builds on."""
    node: Any = OmegaConf.to_container(OmegaConf.load(path))
    axes: dict[str, str] = {}
    for default in node.get("defaults", []):
        if isinstance(default, str) and default != "_self_":
            axes |= grid(path.parent / f"{default}.yaml")
    params = node.get("hydra", {}).get("sweeper", {}).get("params", {})
    return axes | {key: str(value) for key, value in params.items()}


def jobs(path: Path) -> int:
    """How many runs `splitmix train experiment=…` makes."""
    words = [f"{key}={value}" for key, value in grid(path).items()]
    return len(BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)[0])
