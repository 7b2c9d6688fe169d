"""The attacks that the page runs on images: those that a run was tested under, read back from its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from splitmix.binding import bind
from splitmix.config import conf_dir
from splitmix.errors import UserError
from splitmix.robustness.attacks import Attack, LinfPGD


def attack_of(settings: Mapping[str, Any]) -> Attack | None:
    """The attack that a record describes; None for one that the page cannot run on a few images.

    Args:
        settings: name and settings, as `attack` of a test record. Its code is splitmix's own option of that name.
    """
    name = settings.get("name")
    files = {path.stem: path for path in (conf_dir() / "attack").glob("*.yaml")}
    if name not in files or name == "none":
        return None
    target = yaml.safe_load(files[name].read_text(encoding="utf-8"))["_target_"]
    try:
        attack = bind(
            {"_target_": target, **{key: value for key, value in settings.items() if key != "name"}}, "attack"
        )
        attack.check(f"attack.{name}")
    except UserError:  # of another version, or of a library that is not installed
        return None
    # Attacks that pick images out of a batch take minutes.
    return attack if isinstance(attack, Attack) and not attack.fixed_statistics else None


def standard_attack() -> Attack:
    """The attack for runs that were tested under none: the paper's."""
    return LinfPGD()
