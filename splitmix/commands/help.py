"""`--help` of a verb, made from the comments in conf/: groups, options, keys."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from splitmix.config import conf_dir
from splitmix.errors import UserError

KEY = re.compile(r"^(?P<indent> *)(?P<key>[a-z_]+):\s*(?P<value>.*?)\s+# (?P<what>.*)$")


def composed(verb: str, overrides: list[str], config_dir: str | None = None) -> DictConfig:
    """The config of a verb, without running anything; `config_dir` holds a user's own options.

    Raises:
        UserError: no such folder.
    """
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(verb, with_config_dir(overrides, config_dir))


def run_dir(verb: str, arguments: Namespace) -> Path:
    """The folder that Hydra would make for a single run of this command line."""
    with initialize_config_dir(arguments.config_path or str(conf_dir()), job_name=verb, version_base="1.3"):
        overrides = with_config_dir(arguments.overrides, arguments.config_dir)
        config = compose(arguments.config_name or verb, overrides, return_hydra_config=True)
        before = HydraConfig.instance().cfg
        try:
            HydraConfig.instance().set_config(config)  # which `${hydra:…}` in the folder's name reads
            return Path(str(OmegaConf.select(config, "hydra.run.dir")))
        finally:
            HydraConfig.instance().cfg = before


def with_config_dir(overrides: list[str], config_dir: str | None) -> list[str]:
    """Overrides that also search a user's folder of options; UserError if there is no such folder.

    Hydra's application resolves --config-dir itself; where it is not used there is only the search path.
    """
    if config_dir is None:
        return overrides
    if not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    quoted = Path(config_dir).resolve().as_uri().replace("'", "\\'")
    return [f"hydra.searchpath=['{quoted}']", *overrides]


def header(path: Path) -> str:
    """What an option is: the first comment of its file."""
    lines = (line for line in path.read_text().splitlines() if line.startswith("# ") and "@package" not in line)
    return next(lines, "#").removeprefix("# ")


def groups() -> dict[str, list[Path]]:
    """Option files by group."""
    folders = sorted(folder for folder in conf_dir().iterdir() if folder.is_dir())
    return {folder.name: sorted(folder.glob("*.yaml")) for folder in folders}


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Keys of a file with their comments."""
    for line in path.read_text().splitlines():
        if found := KEY.match(line):
            yield found["key"], found["what"]


def option_names() -> list[str]:
    """Every key and group, for suggestions."""
    names = [key for verb in sorted(conf_dir().glob("*.yaml")) for key, _ in documented(verb)]
    for group, files in groups().items():
        names += [group, *(f"{group}.{key}" for file in files for key, _ in documented(file))]
    return names


def print_help(verb: str, overrides: list[str], config_dir: str | None = None) -> None:
    """Purpose, usage, groups with options, keys with values and meaning; values are those of these overrides."""
    config = composed(verb, overrides, config_dir)
    print(header(conf_dir() / f"{verb}.yaml"))
    print(f"\nusage: splitmix {verb} [group=option …] [key=value …]")
    print("       splitmix train -m key=a,b   sweeps; --cfg job --resolve shows the config; --hydra-help: Hydra's own")
    used = {group: files for group, files in groups().items() if group in config or (verb == "train" and files)}
    print("\nkeys:")
    for key, what in documented(conf_dir() / f"{verb}.yaml"):
        _print_key(key, config.get(key), what)
    for group, files in used.items():
        print(f"\n{group}:")
        for file in files:
            print(f"  {group}={file.stem:<12} {header(file)}")
        shown = config.get(group)
        for file in files:
            # Of a group that takes several options at once, each option is a node of its own.
            name, node = group, shown
            if shown is not None and "_target_" not in shown and file.stem in shown:
                name, node = f"{group}.{file.stem}", shown[file.stem]
            if node is not None and "_target_" in node and _target(file) == node["_target_"]:
                for key, what in documented(file):
                    _print_key(f"{name}.{key}", node.get(key), what)


def _target(file: Path) -> Any:
    node = OmegaConf.load(file)
    return node.get("_target_") if isinstance(node, DictConfig) else None


def _print_key(key: str, value: Any, what: str) -> None:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    print(f"    {key + '=' + text:<34} {what}")
