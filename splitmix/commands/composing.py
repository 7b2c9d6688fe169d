"""Composition of a config from the user's words: what Hydra cannot read is the user's mistake, whatever it raises."""

from __future__ import annotations

import sysconfig
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
import omegaconf
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from splitmix.binding import shown
from splitmix.config import conf_dir
from splitmix.errors import UserError

Composed = TypeVar("Composed")
MISTAKES = (UserError, HydraException, OmegaConfBaseException, yaml.YAMLError)
"""What stands for a mistake of the user's, told in one line."""


def composing(compose: Callable[[list[str]], Composed], overrides: Sequence[str]) -> Composed:
    """`compose(overrides)`, where an exception out of Hydra itself means words that it cannot read.

    Raises:
        UserError: such words; the first one that fails alone is named.
    """
    with warnings.catch_warnings():
        # Of a place that is not there Hydra only warns, and the options that the user has there are not found.
        warnings.filterwarnings("error", message="provider=hydra.searchpath", category=UserWarning)
        try:
            return compose(list(overrides))
        except MISTAKES:
            raise
        except Exception as error:
            if not raised_by_hydra(error):
                raise
            for word in overrides:
                try:
                    compose([word])
                except MISTAKES:
                    continue
                except Exception as alone:
                    raise UserError(f"{word}: {_reason(alone)}") from error
            raise UserError(f"{' '.join(overrides)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UserWarning):
        return "no such folder or package of options; give --config-dir <folder>"
    if str(error).startswith("Config group override"):
        return "a group cannot be null; choose one of its options"
    return f"no config can be made of this word ({type(error).__name__}: {' '.join(str(error).split())[:200]})"


def raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra or its parsers raised an exception, by themselves or in Python's own library."""
    places = sysconfig.get_paths()
    ours = tuple(f"{Path(module.__file__ or '').parent}/" for module in (hydra, omegaconf, yaml))
    installed = tuple({f"{places['purelib']}/", f"{places['platlib']}/"})
    trace, files = error.__traceback__, []
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    for file in reversed(files):
        if file.startswith(ours) or "/antlr4/" in file:
            return True
        if file.startswith(installed) or not file.startswith((f"{places['stdlib']}/", "<frozen")):
            return False
    return False


def read_words(words: Sequence[str]) -> list[Override]:
    """Hydra's reading of overrides."""
    return composing(lambda some: OverridesParser.create().parse_overrides(some), words)


def check_words(verb: str, words: Sequence[str]) -> None:
    """Refuse what Hydra would accept, and then leave a config without one of its groups or keys.

    Raises:
        UserError: a deletion, or several options of a group that takes one.
    """
    several = defaults_of(verb)
    for override in read_words(words):
        key, value = override.get_key_element(), override.value()
        if not key:
            raise UserError(f"{override.input_line}: cannot be read; write key=value")
        if override.is_delete():
            name = key.removeprefix("~")
            raise UserError(f"{override.input_line}: no key or group can be left out; give {name}=<value> instead")
        if key not in several:
            continue
        for one in value.list if isinstance(value, ChoiceSweep) else [value]:
            options = one if isinstance(one, list) and isinstance(several[key], list) else [one]
            if any(isinstance(option, list | dict) for option in options):
                raise UserError(f"{key}={shown(one)}: give the name of one option; splitmix list what={key} has them")


def defaults_of(verb: str) -> dict[str, Any]:
    """By config group of a verb the option that it takes by default; a list where it takes several at once."""
    node: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / f"{verb}.yaml"))
    entries = [entry for entry in node["defaults"] if isinstance(entry, dict)]
    return {key: value for entry in entries for key, value in entry.items() if not key.startswith("override ")}
