"""Which code may be imported for a file of a stranger's: splitmix's own options, and what the user names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from splitmix.binding import CODE_KEYS, Trusted
from splitmix.config import COMPONENTS, conf_dir


def trusted_code(named: Iterable[str] = ()) -> dict[str, set[str]]:
    """By config group the code that may be imported: splitmix's own, and what is `named`, in every group.

    Args:
        named: classes and functions, as package.module.Class.
    """
    ours, everywhere = own_targets(), set(named)
    return {group: {*ours.get(group, ()), *everywhere} for group in COMPONENTS}


@cache
def own_targets() -> Trusted:
    """The code that the options of conf/ name, by group."""
    targets: dict[str, set[str]] = {}
    for group, target in targets_in([conf_dir()]):
        targets.setdefault(group, set()).add(target)
    return targets


def targets_in(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Group and code of option files; what else lies in these folders, such as runs, names nothing."""
    groups = sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir() and folder.name != "hydra")
    for folder in folders:
        for group in groups:
            for file in sorted((folder / group).rglob("*.yaml")):
                node: Any = None
                # A damaged option is told when it is used.
                with suppress(OSError, ValueError, yaml.YAMLError):
                    node = yaml.safe_load(file.read_text(encoding="utf-8"))
                if isinstance(node, Mapping):
                    yield from targets_of({group: node, **node})


def targets_of(config: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Group and code that a config names."""
    for group, node in config.items():
        for key in CODE_KEYS if isinstance(node, Mapping) else ():
            if isinstance(node.get(key), str):
                yield str(group), node[key]
