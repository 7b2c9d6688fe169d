"""What the command line says: messages on the console and in train.log, mistakes in one line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import OverrideParseException

from splitmix.binding import nearest
from splitmix.commands.composing import MISTAKES
from splitmix.commands.help import keys_of, option_names
from splitmix.errors import UserError
from splitmix.files import without_links
from splitmix.printing import PrintableFormatter, printable

log = logging.getLogger("splitmix")

LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}
"""Launchers of sweeps that do not come with Hydra, and the extra that brings each."""


def log_to_console() -> None:
    """Messages to standard output, anew (a stream may have been replaced since)."""
    log.handlers.clear()
    console = Console(sys.stdout)
    console.setLevel(logging.INFO)
    console.setFormatter(PrintableFormatter())
    log.addHandler(console)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for noisy in ("lightning_fabric", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


class Console(logging.StreamHandler):  # type: ignore[type-arg]  # no subscript before Python 3.11
    """Messages to standard output; failing to write one is raised, as `print` does."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise error
        super().handleError(record)


def log_to_file(path: Path) -> None:
    """The same messages to a file beside them, and to no file of an earlier job of a sweep."""
    for old in [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]:
        log.removeHandler(old)
        old.close()
    try:
        handler = LogFile(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another hydra.run.dir") from error
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s"))
    log.addHandler(handler)


class LogFile(logging.FileHandler):
    """A log file that is no symbolic link to another one."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=without_links)

    def handleError(self, record: logging.LogRecord) -> None:
        # A full disk: the next checkpoint says so in one line, and saves what it can.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def mistake_of(compose: Callable[[], object], verb: str) -> str | None:
    """The mistake that composing a config of the verb meets, in one line; None if there is none."""
    try:
        compose()
    except MISTAKES as error:
        return one_line(error, verb)
    return None


def one_line(error: Exception, verb: str | None = None) -> str:
    """The message of a mistake in one line, with the nearest name where a name is unknown.

    Args:
        verb: whose keys are suggested; None suggests those of all verbs.
    """
    text = printable(" ".join(str(error).split()))
    if isinstance(error, UserError):
        return text
    if isinstance(error, OverrideParseException):
        return unreadable(str(error.override))
    keys = option_names() if verb is None else keys_of(verb)
    if match := re.search(r"Could not override '([^']+)'", text):
        return f"unknown key {match[1]}{nearest_key(match[1], keys)}; splitmix {verb or '<verb>'} --help lists the keys"
    if match := re.search(r"[Cc]ould not find '([^']+)/([^'/]+)'", text):
        group, option = match[1], match[2]
        # Hydra's own list, which knows a user's options too.
        options = sorted(getattr(error, "options", None) or [])
        if group == "hydra/launcher" and option in LAUNCHERS:
            return f"hydra/launcher={option}: not installed; pip install 'splitmix[{LAUNCHERS[option]}]'"
        return f"{group}={option}: no such option{nearest(option, options)}; choose among {', '.join(options)}"
    if match := re.search(r"Could not override '?([\w/.]+)'?\.? ?No match", text):
        return f"unknown key {match[1]}{nearest_key(match[1], keys)}; splitmix {verb or '<verb>'} --help lists the keys"
    return text


def unreadable(word: str) -> str:
    """What is wrong with a word that Hydra's grammar does not know, and what to write instead."""
    key, equals, value = word.partition("=")
    brackets = any(value.count(left) != value.count(right) for left, right in ("[]", "{}", "()"))
    if not equals or not re.fullmatch(r"(\+|\+\+|~)?\w+([./@:-]\w+)*", key, re.ASCII):
        mend = "write key=value"
    elif value.count('"') % 2 or value.count("'") % 2:
        mend = "a quotation mark is missing"
    elif brackets:
        mend = "a bracket is missing"
    elif re.search(r"(^|[,\[])\s*(,|$)", value):
        mend = "a value is missing beside a comma"
    else:
        mend = (
            f"a list is [a,b], and text with such signs needs quotation marks within the shell's: '{key}=\"{value}\"'"
        )
    return printable(f"{word}: cannot be read; {mend}")


def nearest_key(word: str, keys: Sequence[str]) -> str:
    """` (did you mean …?)`: a key in a group that is called so there, else the nearest in spelling."""
    in_groups = [key for key in keys if key.endswith(f".{word}")]
    return f" (did you mean {in_groups[0]}?)" if in_groups else nearest(word, keys)
