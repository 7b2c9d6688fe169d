"""Words of a command line: as Hydra's grammar and the shell read them back."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

PLAIN = re.compile(r"[A-Za-z_./+-][A-Za-z0-9_./+-]*")
WORDS_WITH_A_MEANING = ("null", "true", "false", "nan", "inf")


def command(verb: str, *words: str, **values: object) -> str:
    """A command to type, quoted for a POSIX shell.

    Args:
        words: further words, such as `attack=[none,linf_pgd]`, as Hydra reads them.
        values: texts and paths by key, which come before them.
    """
    return shlex.join(["splitmix", verb, *(hydra_word(key, value) for key, value in values.items()), *words])


def hydra_word(key: str, value: object) -> str:
    """`key=value` with quotes of Hydra's where it would read the value as something else than this text."""
    text = str(value)
    plain = f"{key}={text}"
    return plain if read(plain) == text else f"{key}={in_quotes(text)}"


def hydra_value(value: object) -> str:
    """A value of a config in Hydra's grammar, also as a part of another; text is quoted wherever it could be more."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_value, value))}]"
    if isinstance(value, str) and (not PLAIN.fullmatch(value) or value.lower() in WORDS_WITH_A_MEANING):
        return in_quotes(value, Quote.single)
    return str(value)


def in_quotes(text: str, quote: Quote = Quote.double) -> str:
    """Text with quotes of Hydra's, which read back as it is."""
    return QuotedString(text, quote).with_quotes()


def with_quoted_path(word: str) -> str:
    """A word of the command line; a path that is there and that Hydra's grammar cannot read, such as `a=b`, quoted."""
    key, _, text = word.partition("=")
    if not text or key.startswith("-") or read(word) is not None or read(f"{key}=x") is None:
        return word
    try:
        there = Path(text).exists()
    except (OSError, ValueError):
        there = False
    return hydra_word(key, text) if there else word


def unquoted(text: str) -> str:
    """What stands after `=` on the command line, without Hydra's quotes."""
    value = read(f"x={text}") if text[:1] in ("'", '"') else None
    return value if isinstance(value, str) else text


def read(word: str) -> object:
    """The value in a word of the command line; None if Hydra's grammar cannot read it."""
    try:
        value: object = OverridesParser.create().parse_override(word).value()
    except HydraException:
        return None
    return value
