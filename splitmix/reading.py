"""Reading files that a stranger may have written: regular, of bounded size, as plain data; a mistake is one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from splitmix.errors import UserError
from splitmix.regular_files import open_regular

MOST_YAML = 256 * 1024
MOST_TEXT = 32 * 1024 * 1024
"""Bytes of the largest files that are read: configs; results and metrics."""
MOST_PARTS = 500_000
"""Lists and mappings in a JSON file; a test of a thousand clients is two of them."""
DEEPEST = 32
"""Levels of lists and mappings inside each other; the files of a run have up to five."""
LARGEST = 2**63
"""Whole numbers are smaller than this in size."""


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The UTF-8 text of a regular file.

    Args:
        most: bytes of the largest file that is read.

    Raises:
        UserError: it is no regular file, cannot be opened, is larger, or is no text.
    """
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"it is larger than {most} bytes")
        return content.decode("utf-8")
    except UserError as error:
        raise UserError(f"{path} cannot be read (it is not a regular file)") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error})") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it cannot be read, a key repeats, or a value is not plain (see `check_plain`).
    """
    text = read_text(path)
    try:
        if text.count("[") + text.count("{") > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS} lists and mappings")
        content = json.loads(text, object_pairs_hook=_without_repeats)
        check_plain(content)
    except RecursionError:
        raise UserError(f"{path} cannot be read (nested more than {DEEPEST} levels deep)") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    return content


def read_yaml(path: Path) -> Any:
    """The content of a YAML file by OmegaConf's rules, but with interpolations such as `${key}` left as text.

    Raises:
        UserError: it cannot be read, is empty, has anchors or tags, a key repeats, or a value is not plain.
    """
    text = read_text(path, MOST_YAML)
    try:
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)
        check_plain(content)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    if content is None:
        raise UserError(f"{path} cannot be read (it is empty)")
    return content


def check_plain(content: Any) -> None:
    """Refuse what no file of ours holds and no code of ours expects.

    Raises:
        ValueError: something other than mappings by text, lists, text, numbers and null; a number that is not finite
            or too large; text with a NUL or half a character; too deep nesting.
    """
    left = [([content], 0)]
    while left:
        container, depth = left.pop()
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
        for value in container:
            if isinstance(value, dict):
                if not all(isinstance(key, str) for key in value):
                    raise ValueError("a key is not text")
                left += [(list(value), depth + 1), (list(value.values()), depth + 1)]
            elif isinstance(value, list):
                left.append((value, depth + 1))
            else:
                _check_plain_value(value)


def _check_plain_value(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a number is {value}")
    elif isinstance(value, int):
        if abs(value) >= LARGEST:
            raise ValueError("a whole number is too large")
    elif isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise ValueError("text has a NUL or half a character")
    elif value is not None:
        raise ValueError(f"a value is {type(value).__name__}, not text or a number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated} stands twice")
    return content


def _check_events(text: str) -> None:
    """Refuse what makes a small file large, before anything is built of it (ValueError; YAMLError)."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {event.start_mark.line + 1} has an anchor or an alias")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"line {event.start_mark.line + 1} has a tag")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The quick loader of plain data, with OmegaConf's rules for what is a number."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(names) != len(node.value):
            raise ValueError("a key is not text")
        _without_repeats([(name, None) for name in names])
        return super().construct_mapping(node, deep=deep)
