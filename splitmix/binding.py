"""Binding a configuration node to the dataclass of settings that its `_target_` names."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from typing import Any

from splitmix.errors import UserError

Trusted = Mapping[str, Collection[str]]
"""By config group the `_target_`s that may be imported."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """` (did you mean …?)` for another choice close to `word`, or nothing if none is."""
    close = difflib.get_close_matches(word, [choice for choice in choices if choice != word], n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def bind(node: Any, key: str, trusted: Trusted | None = None) -> Any:
    """The component that a config node describes.

    Args:
        node: a mapping with `_target_: package.module.Class`, a dataclass of settings.
        key: where the node stands in the config.
        trusted: import nothing but these; None, for a config that the user's own command composed, imports all.

    Raises:
        UserError: no such class, one that is not trusted, an unknown key, a value of the wrong type.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{key}: an option of this group must name its class with _target_; choose {key}=<option>")
    target = str(node["_target_"])
    if trusted is not None and target not in trusted.get(key, ()):
        raise UserError(
            f"{key}._target_={target}: a run folder may name any code, so only splitmix's own is imported; if you trust"
            f" this class, name it in the command: trust=[{target}], or --config-dir <folder of its option>"
        )
    module, _, name = target.rpartition(".")
    try:
        component = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{key}._target_={target}: cannot be imported ({error})") from error
    if not (isinstance(component, type) and dataclasses.is_dataclass(component)):
        raise UserError(f"{key}._target_={target}: must be a dataclass of settings")
    values = bind_fields(component, {k: v for k, v in node.items() if k != "_target_"}, f"{key}.")
    try:
        return component(**values)
    except TypeError as error:
        raise UserError(f"{key}._target_={target}: a key is missing ({error})") from error


def bind_fields(component: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Check names and types of `values` against the fields of a dataclass."""
    hints = typing.get_type_hints(component)
    fields = [field.name for field in dataclasses.fields(component)]
    for name in values:
        if name not in fields:
            raise UserError(f"unknown key {prefix}{name}{nearest(str(name), fields)}; known: {', '.join(fields)}")
    return {name: convert(value, hints[name], prefix + name) for name, value in values.items()}


def convert(value: Any, hint: Any, key: str) -> Any:
    """`value` as the type `hint` says; whole numbers pass for floats, a single value for a tuple of one.

    Raises:
        UserError: another type, or a number that is not finite.
    """
    if hint is Any:
        return value
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        # Text last: it would swallow numbers written as text.
        for option in sorted((o for o in options if o is not type(None)), key=lambda o: o is str):
            try:
                return convert(value, option, key)
            except UserError:
                continue
    elif typing.get_origin(hint) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(convert(item, typing.get_args(hint)[0], key) for item in items)
    elif (hint is bool and isinstance(value, bool)) or (
        hint is int and isinstance(value, int) and not isinstance(value, bool)
    ):
        return value
    elif hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif hint is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"{key}={value}: expected {describe(hint)}")


def describe(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if typing.get_origin(hint) is tuple:
        return f"a list, each {describe(typing.get_args(hint)[0])}"
    options = typing.get_args(hint) or (hint,)
    return " or ".join(words.get(option, str(option)) for option in options)
