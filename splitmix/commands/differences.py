"""What a run's config changes from the defaults of `splitmix train`, as words for the command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from splitmix.commands.help import composed, groups
from splitmix.config import resolve
from splitmix.errors import UserError
from splitmix.quoting import hydra_value
from splitmix.reading import read_yaml


@cache
def _defaults() -> dict[str, Any]:
    # Inside a verb Hydra is at work already, and composes for one application at a time.
    at_work = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        return resolve(composed("train", []))
    finally:
        GlobalHydra.instance().hydra = at_work


def defaults() -> dict[str, Any]:
    """The resolved config of `splitmix train` without overrides."""
    return dict(_defaults())


@cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    options = {}
    for file in groups().get(group, []):
        node = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if isinstance(node, dict) and "_target_" in node:
            options[file.stem] = {str(key): value for key, value in node.items()}
    return options


def differences(config: Mapping[str, Any]) -> list[str]:
    """`key=value` words that turn the defaults into this config (options of a user's own: as far as there are words).

    Args:
        config: the resolved config of a run.
    """
    standard, words = defaults(), []
    for key, value in config.items():
        if isinstance(value, Mapping) and "_target_" in value:
            words += _of_group(key, value, standard.get(key))
        else:
            words += _of_value(key, value, standard.get(key), key in standard)
    return words


def _of_group(group: str, node: Mapping[str, Any], standard: Any) -> list[str]:
    base = standard if isinstance(standard, Mapping) else {}
    words = []
    if base.get("_target_") != node["_target_"]:
        options = {name: o for name, o in _options(group).items() if o["_target_"] == node["_target_"]}
        # Options that share a class differ in numbers: the nearest one needs the fewest words.
        name = min(options, key=lambda name: _distance(options[name], node), default=None)
        if name is None:
            base = {}
            words.append(f"{group}._target_={hydra_value(node['_target_'])}")
        else:
            base = options[name]
            words.append(f"{group}={name}")
    for key, value in node.items():
        if key != "_target_":
            words += _of_value(f"{group}.{key}", value, base.get(key), key in base)
    return words


def _distance(option: Mapping[str, Any], node: Mapping[str, Any]) -> int:
    return sum(option.get(key) != value for key, value in node.items())


def _of_value(key: str, value: Any, standard: Any, known: bool) -> list[str]:
    if known and value == standard and isinstance(value, bool) == isinstance(standard, bool):
        return []
    if isinstance(value, Mapping) and value and known and isinstance(standard, Mapping):
        return [
            word
            for name, item in value.items()
            for word in _of_value(f"{key}.{name}", item, standard.get(name), name in standard)
        ]
    return [f"{'' if known else '+'}{key}={hydra_value(value)}"]


BY_COMMAND_LINE = ("command-line", "hydra.searchpath in command-line")
"""What Hydra calls the origin of --config-dir: alone, and as `with_config_dir` hands it on."""


def command_of(folder: Path, config: Mapping[str, Any]) -> str:
    """The command that made a run: from what Hydra kept of it, else from its config."""
    words: list[str] = []
    try:
        kept = read_yaml(folder / ".hydra" / "overrides.yaml")
        words = [str(word) for word in kept] if isinstance(kept, list) else differences(config)
        sources = read_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["config_sources"]
        config_dirs = [str(source["path"]) for source in sources if source["provider"] in BY_COMMAND_LINE]
        words = [word for path in config_dirs for word in ("--config-dir", path)] + words
    except (UserError, LookupError, TypeError):  # what Hydra keeps is a convenience: damage must not stop a report
        words = words or differences(config)
    return shlex.join(["splitmix", "train", *words])
