"""The words of a command line: Hydra's flags, wherever they stand, and key=value words; mistakes in either."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from splitmix.binding import nearest
from splitmix.errors import UserError

REFUSED = {
    "shell_completion": ("--shell-completion", "splitmix --completion bash|zsh|fish prints a script for your shell"),
    "experimental_rerun": ("--experimental-rerun", "splitmix train resume=<folder> goes on with a run"),
    "config_name": ("--config-name", "every verb has its own config; --config-dir adds options of your own"),
    "config_path": ("--config-path", "every verb has its own config; --config-dir adds options of your own"),
}
"""Flags of Hydra's that splitmix has no use for, and what to use instead."""


def parsed(argv: list[str]) -> Namespace:
    """Hydra's flags and the overrides of a command line.

    Raises:
        UserError: an unknown flag, flags that exclude each other, a word that is not text.
    """
    for word in argv:
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UserError(f"{word}: is not UTF-8 text")
    parser = get_args_parser()
    flags = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]

    def refuse(message: str) -> NoReturn:
        word = message.rpartition(" ")[2].partition("=")[0]
        near = nearest(word, flags) if message.startswith("unrecognized") else ""
        raise UserError(f"{message}{near}; --help lists the keys, --hydra-help the flags")

    parser.error = refuse  # type: ignore[method-assign]
    arguments: Namespace = parser.parse_intermixed_args(argv)
    for name, (flag, instead) in REFUSED.items():
        if getattr(arguments, name):
            raise UserError(f"{flag}: {instead}")
    if arguments.resolve and not (arguments.cfg or arguments.help):
        raise UserError("--resolve: belongs to --cfg; give --cfg job --resolve")
    if arguments.package and not arguments.cfg:
        raise UserError(f"--package {arguments.package}: belongs to --cfg; give --cfg job --package <key>")
    modes = {"--run": arguments.run, "-m": arguments.multirun, "--cfg": arguments.cfg, "--info": arguments.info}
    if len(given := [flag for flag, value in modes.items() if value]) > 1:
        raise UserError(f"{' and '.join(given)}: give one of them")
    if arguments.config_dir is not None and not Path(arguments.config_dir).is_dir():
        raise UserError(f"--config-dir {arguments.config_dir}: no such folder")
    return arguments


def in_order(arguments: Namespace) -> list[str]:
    """The same command line with the flags first, as Hydra reads it."""
    parser: ArgumentParser = get_args_parser()
    flags: list[str] = []
    for action in parser._actions:
        value = None if action.dest == SUPPRESS else getattr(arguments, action.dest, None)
        if action.option_strings and value not in (None, False):
            option = action.option_strings[0]
            flags.append(option if value is True else f"{option}={value}")
    overrides: list[str] = arguments.overrides
    return [*flags, *(["--"] if any(word.startswith("-") for word in overrides) else []), *overrides]


def add_own_code(config_dir: str | None) -> None:
    """Let Python find code beside a user's folder of options.

    The folder's parent comes last on sys.path, so that it hides no installed module.
    """
    if config_dir is not None and (parent := str(Path(config_dir).resolve().parent)) not in sys.path:
        sys.path.append(parent)


def overrides_of(argv: list[str]) -> dict[str, str]:
    """`key=value` words of a command line."""
    words: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if equals and not word.startswith("-"):
            words[key.lstrip("+")] = value
    return words
