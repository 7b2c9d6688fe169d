"""What may be imported for a run folder: our own components, and what the user's command names again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from splitmix.binding import CODE_KEYS, Trusted, convert
from splitmix.commands.help import groups, option_folders
from splitmix.config import COMPONENTS, conf_dir


def trusted_targets(
    named: Any = (), config_dirs: Sequence[Path] | None = None, composed: Mapping[str, Any] | None = None
) -> Trusted:
    """By config group the code that may be imported for a run folder: `_target_`s and factories.

    Args:
        named: value of the key `trust`: classes and functions that the user's command trusts in every group.
        config_dirs: the user's folders of option files; None takes those of the command at work.
        composed: a config that the user's command composed, whose targets it names by this.

    Raises:
        UserError: `named` is no list of text.
    """
    everywhere = convert(named, tuple[str, ...], "trust")
    trusted = {group: {*_own_targets().get(group, ()), *everywhere} for group in COMPONENTS}
    folders = option_folders() if config_dirs is None else config_dirs
    for group, target in [*_targets_in(folders), *_targets_of(composed or {})]:
        trusted.setdefault(group, set()).add(target)
    return trusted


@cache
def _own_targets() -> Trusted:
    trusted: dict[str, set[str]] = {}
    for group, target in _targets_in([conf_dir()]):
        trusted.setdefault(group, set()).add(target)
    return trusted


def _targets_in(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Group and code of option files; what else lies in these folders, such as runs, names nothing."""
    for folder in folders:
        for group in groups():
            for file in sorted((folder / group).rglob("*.yaml")):
                node: Any = None
                # A damaged option is told when it is used.
                with suppress(OSError, ValueError, yaml.YAMLError):
                    node = yaml.safe_load(file.read_text(encoding="utf-8"))
                if isinstance(node, Mapping):
                    yield from _targets_of({group: node, **node})


def _targets_of(config: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for group, node in config.items():
        for key in CODE_KEYS if isinstance(node, Mapping) else ():
            if isinstance(node.get(key), str):
                yield str(group), node[key]
