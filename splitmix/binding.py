"""Binding a configuration node to the dataclass of settings that its `_target_` names."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from typing import Annotated, Any, TypeVar

from splitmix.errors import NotTrusted, UserError

Settings = TypeVar("Settings")

Trusted = Mapping[str, Collection[str]]
"""By config group the code that may be imported: `_target_`s and factories."""

CODE_KEYS = ("_target_", "factory")
"""Keys of an option that name code: a class of settings, and a function that it calls."""

FORMER_TARGETS = {
    "splitmix.config.TestSettings": "splitmix.test_settings.TestSettings",
    "splitmix.federation.engine_settings.EngineSettings": "splitmix.engine.settings.EngineSettings",
    "splitmix.federation.optimizers.SGD": "splitmix.engine.optimizers.SGD",
    "splitmix.federation.optimizers.Adam": "splitmix.engine.optimizers.Adam",
    "splitmix.reporting.csv_logger.CSV": "splitmix.runs.metrics.CSV",
    "splitmix.reporting.loggers.MLflow": "splitmix.runs.loggers.MLflow",
    "splitmix.reporting.loggers.TensorBoard": "splitmix.runs.loggers.TensorBoard",
    "splitmix.reporting.loggers.WandB": "splitmix.runs.loggers.WandB",
}
"""Where classes of settings stand today, by the names that runs of earlier versions have stored."""

OPTION = "an option of a config group"
Component = Annotated[Any, OPTION]
"""Hint of a field that holds the component of a config group: the dataclass that the node's `_target_` names."""

LARGEST = 2**63 - 1
"""Largest whole number that torch takes."""

EXAMPLES = {
    "algorithm": "splitmix.algorithms.fedavg.FedAvg",
    "attack": "splitmix.robustness.attacks.FGSM",
    "budget": "splitmix.federation.budgets.Groups",
    "dataset": "splitmix.data.minidigits.MiniDigits",
    "logger": "splitmix.runs.loggers.TensorBoard",
    "model": "splitmix.models.digit_cnn.DigitCNN",
    "optimizer": "splitmix.engine.optimizers.SGD",
    "partition": "splitmix.data.partition.Uniform",
    "schedule": "splitmix.federation.schedules.Cosine",
    "train_attack": "splitmix.robustness.attacks.FGSM",
}
"""By group an option to imitate, for whoever writes one of their own."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """` (did you mean …?)` for another choice close to `word`, or nothing if none is."""
    close = difflib.get_close_matches(word, [choice for choice in choices if choice != word], n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def with_current_targets(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config in which every group names its class as it is called today."""
    return {
        key: {**node, "_target_": FORMER_TARGETS.get(node["_target_"], node["_target_"])}
        if isinstance(node, Mapping) and isinstance(node.get("_target_"), str)
        else node
        for key, node in values.items()
    }


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
    for name in CODE_KEYS:
        code = node.get(name)
        if trusted is not None and code is not None and str(code) not in trusted.get(key, ()):
            raise NotTrusted(
                f"{key}.{name}={code}: a run folder may name any code, so only splitmix's own is imported; if you trust"
                f" this {'class' if name == '_target_' else 'function'}, name it in the command: trust=[{code}], or"
                " --config-dir <folder of its option>",
                str(code),
            )
    module, _, name = target.rpartition(".")
    try:
        component = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{key}._target_={target}: cannot be imported ({error})") from error
    if not (isinstance(component, type) and dataclasses.is_dataclass(component)):
        raise UserError(f"{key}._target_={target}: {_what_is_needed(key)}")
    values = bind_fields(component, {k: v for k, v in node.items() if k != "_target_"}, f"{key}.")
    try:
        return component(**values)
    except TypeError as error:
        raise UserError(f"{key}._target_={target}: a key is missing ({error})") from error


def _what_is_needed(key: str) -> str:
    """Told of a class that is no option, such as a plain torch network."""
    group = key.partition(".")[0]
    if group == "model":
        return (
            "a model option must be a dataclass of settings, not a plain nn.Module: use model=module with"
            " model.factory, a function that makes your network"
        )
    like = f", such as {EXAMPLES[group]}" if group in EXAMPLES else ""
    return f"it must be a dataclass of settings{like}"


def bind_settings(schema: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The keys of a verb as its dataclass: types checked, config groups bound.

    Raises:
        UserError: a key that is unknown, missing, or of the wrong type.
    """
    bound = bind_fields(schema, values, "")
    for field in dataclasses.fields(schema):  # type: ignore[arg-type]
        if field.name not in bound and field.default is dataclasses.MISSING:
            raise UserError(f"the configuration lacks the key {field.name}; splitmix <verb> --help lists the keys")
    return schema(**bound)


def bind_fields(component: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Check names and types of `values` against the fields of a dataclass."""
    hints = typing.get_type_hints(component, include_extras=True)
    fields = [field.name for field in dataclasses.fields(component)]
    for name in values:
        if name not in fields:
            raise UserError(f"unknown key {prefix}{name}{nearest(str(name), fields)}; known: {', '.join(fields)}")
    return {name: convert(value, hints[name], prefix + name) for name, value in values.items()}


def convert(value: Any, hint: Any, key: str) -> Any:
    """`value` as the type `hint` says; whole numbers pass for floats, a single value for a tuple of one.

    Raises:
        UserError: another type, or a number that is not finite or beyond 64 bits.
    """
    if hint is Any:
        return value
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{key}={value}: too large; whole numbers end at 2^63")
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated and OPTION in hint.__metadata__:
        return bind(value, key)
    if isinstance(hint, types.UnionType) or origin is typing.Union:
        if value is None and type(None) in options:
            return None
        # Text last: it would swallow numbers written as text.
        for option in sorted((o for o in options if o is not type(None)), key=lambda o: o is str):
            try:
                return convert(value, option, key)
            except UserError:
                continue
    elif origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(convert(item, options[0], key) for item in items)
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(name): convert(item, options[1], f"{key}.{name}") for name, item in value.items()}
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
    raise UserError(f"{key}={shown(value)}: expected {describe(hint)}")


def describe(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"a list of {describe(options[0]).removeprefix('a ')}s"
    if origin is dict or origin is Annotated:
        return OPTION
    if options:
        return " or ".join(describe(option) for option in options)
    return words.get(hint, str(hint))


def shown(value: Any) -> str:
    """A value as the command line takes it, every digit included: `1`, `1.0000001`, `null`, `true`, `[0.5,1]`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{shown(item)}' for name, item in value.items())}}}"
    return str(value)
