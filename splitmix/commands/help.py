"""`--help` of a verb, made from the comments in conf/: groups, options, keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from splitmix.binding import shown
from splitmix.commands.composing import composing, defaults_of, read_words
from splitmix.commands.layout import entry, wrapped
from splitmix.config import conf_dir
from splitmix.errors import UserError

KEY = re.compile(r"^(?P<indent> *)(?P<key>[a-z_]+):\s*(?P<value>.*?)\s+# (?P<what>.*)$")


def composed(verb: str, overrides: list[str], config_dir: str | None = None, hydra: bool = False) -> DictConfig:
    """The config of a verb, without running anything; `config_dir` holds a user's own options.

    Args:
        hydra: keep Hydra's own node, which knows the option chosen of each group.

    Raises:
        UserError: no such folder, words that cannot be read.
    """

    def compose_words(words: list[str]) -> DictConfig:
        return compose(verb, with_config_dir(words, config_dir), return_hydra_config=hydra)

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return composing(compose_words, overrides)


def run_dir(config: DictConfig) -> Path:
    """The folder that Hydra would make for a single run of this config, which holds Hydra's own node."""
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)  # which `${hydra:…}` in the folder's name reads
        return Path(str(OmegaConf.select(config, "hydra.run.dir")))
    finally:
        HydraConfig.instance().cfg = before


def without_hydra(config: DictConfig) -> DictConfig:
    """The user's own keys of a config, Hydra's node left out."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def with_config_dir(overrides: list[str], config_dir: str | None) -> list[str]:
    """Overrides that also search a user's folder of options; UserError if there is no such folder.

    Hydra's application resolves --config-dir itself; where it is not used there is only the search path.
    """
    if config_dir is None:
        return overrides
    if not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    # No URI proper: Hydra takes what follows file:// as it stands, blanks and all.
    quoted = str(Path(config_dir).resolve()).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']", *overrides]


def header(path: Path) -> str:
    """What an option is: the first comment of its file."""
    lines = (line for line in path.read_text().splitlines() if line.startswith("# ") and "@package" not in line)
    return next(lines, "#").removeprefix("# ")


def groups(config_dirs: Sequence[Path] = ()) -> dict[str, list[Path]]:
    """Option files by group, those in a user's own folders of options too."""
    files_by_group: dict[str, dict[str, Path]] = {}
    for root in (conf_dir(), *config_dirs):
        for folder in sorted(folder for folder in root.iterdir() if folder.is_dir() and folder.name != "hydra"):
            files = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
            if files or root == conf_dir():
                files_by_group.setdefault(folder.name, {}).update(files)
    return {group: list(files.values()) for group, files in sorted(files_by_group.items())}


def option_folders() -> list[Path]:
    """The user's folders of options (--config-dir, hydra.searchpath) of the verb that is running; none if none is."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    return [folder for folder in folders if folder.resolve() != conf_dir().resolve() and folder.is_dir()]


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Keys of a file with their comments."""
    for line in path.read_text().splitlines():
        if match := KEY.match(line):
            yield match["key"], match["what"]


def explained(file: Path, others: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Keys of an option with their comments, which an option of the same class may lend."""
    node = OmegaConf.load(file)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return
    same = [other for other in others if _target(other) == node["_target_"]]
    comments = {key: what for other in [*same, file] for key, what in documented(other)}
    for key in node:
        if key != "_target_":
            yield str(key), comments.get(str(key), "")


def _target(file: Path) -> Any:
    node = OmegaConf.load(file)
    return node.get("_target_") if isinstance(node, DictConfig) else None


def keys_of(verb: str) -> list[str]:
    """Every key of a verb: its own, its groups, and the keys of their options."""
    names = [key for key, _ in documented(conf_dir() / f"{verb}.yaml")]
    options = groups()
    for group, default in defaults_of(verb).items():
        names.append(group)
        if group in ("experiment", "debug"):
            continue  # their keys are those of the verb
        for option in options[group]:
            # Of a group that takes several options at once, each option is a node of its own.
            node = f"{group}.{option.stem}" if isinstance(default, list) else group
            names += [f"{node}.{key}" for key, _ in documented(option)]
    return list(dict.fromkeys(names))


def option_names() -> list[str]:
    """Every key and group of all verbs, for suggestions."""
    names = [name for verb in sorted(conf_dir().glob("*.yaml")) for name in keys_of(verb.stem)]
    return list(dict.fromkeys([*names, *groups()]))


def print_help(verb: str, overrides: list[str], config_dir: str | None = None) -> None:
    """Purpose, usage, keys, groups with their options; values are those of these overrides."""
    words = [str(one.input_line) for one in read_words(overrides) if not one.is_sweep_override()]
    config = composed(verb, words, config_dir, hydra=True)
    chosen, standard = config.hydra.runtime.choices, defaults_of(verb)
    config_dirs = [] if config_dir is None else [Path(config_dir)]
    print(wrapped(header(conf_dir() / f"{verb}.yaml")))
    print(f"\nusage: splitmix {verb} [flag …] [group=option …] [key=value …]\n")
    for flag, what in FLAGS.items():
        print(entry(f"  {flag}", what, 20))
    if keys := list(documented(conf_dir() / f"{verb}.yaml")):
        print("\nkeys:")
        for key, what in keys:
            _print_key(key, config, what, indent=2)
    used = {group: files for group, files in groups(config_dirs).items() if group in standard or group in chosen}
    for group, files in used.items():
        if group == "experiment":
            continue
        # Of a group that takes several options at once, each option is a node of its own.
        several = isinstance(standard.get(group), list)
        taken = list(config.get(group) or []) if several else [str(chosen.get(group))]
        print(f"\n{group}:")
        for file in files:
            print(entry(f"{MARK if file.stem in taken else ' '} {file.stem}", header(file), 19))
            node = f"{group}.{file.stem}" if several else group
            for key, what in explained(file, files) if file.stem in taken else ():
                _print_key(f"{node}.{key}", config, what, indent=6)
    if "experiment" in used:
        print(f"\nexperiment: {len(used['experiment'])} ready-made grids; splitmix list what=experiment has them")
    if used:
        print(f"\n{wrapped(f'{MARK} is what this command takes. Keys of another option: name it beside --help.')}")


FLAGS = {
    "-m key=a,b": "every combination of the values, one after another (a sweep)",
    "--cfg job": "show the config instead of running; with --resolve every reference filled in",
    "--config-dir DIR": "add your own options, DIR/<group>/<option>.yaml; code that they name is found beside DIR",
    "--help": "this page; beside key=value words: with their values",
    "--hydra-help": "the flags that Hydra has besides",
}
MARK = "*"


def _print_key(key: str, config: DictConfig, what: str, indent: int) -> None:
    node = config
    *parents, last = key.split(".")
    for parent in parents:
        node = node.get(parent) if isinstance(node, DictConfig) else None
    if not isinstance(node, DictConfig) or last not in node:
        return
    text = "???" if OmegaConf.is_missing(node, last) else shown(_plain(node[last]))
    print(entry(f"{' ' * indent}{key}={text}", what, 32))


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
