"""What may be imported for a run folder: our own components, and what the user's command names again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitmix.binding import Trusted, convert
from splitmix.commands.help import option_folders
from splitmix.trusted import targets_in, targets_of, trusted_code


def words_for_own_code(config: Mapping[str, Any]) -> list[str]:
    """What a command on a run of this config must say: the folders of the command at work, and code to trust."""
    folders = option_folders()
    trusted = trusted_targets(config_dirs=folders)
    outside_targets = sorted({target for group, target in targets_of(config) if target not in trusted.get(group, ())})
    words = [word for folder in folders for word in ("--config-dir", str(folder))]
    return [*words, f"trust=[{','.join(outside_targets)}]"] if outside_targets else words


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
    trusted = trusted_code(convert(named, tuple[str, ...], "trust"))
    folders = option_folders() if config_dirs is None else config_dirs
    for group, target in [*targets_in(folders), *targets_of(composed or {})]:
        trusted.setdefault(group, set()).add(target)
    return trusted
