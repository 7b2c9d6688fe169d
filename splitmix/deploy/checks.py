"""Whether an update is what the server asked for: round, client, names, shapes, types, finite numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from splitmix.algorithms.base import LocalTraining
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, ServerState, Update
from splitmix.deploy.messages import BadMessage
from splitmix.models.network import Tensors


def expected_update(method: Method, state: ServerState, task: ClientTask, weight: float, lr: float) -> Update:
    """An update as this client would send it without any training: its names, shapes and types are the right ones.

    Args:
        task: with what the client downloads.
    """
    memory = state.memory(task)
    start = {name: value.clone() for name, value in method.start(task, memory).items()}
    result = method.finish(task, memory, start, LocalTraining(lr, 1, torch.zeros(method.problem.classes)))
    lanes = torch.zeros(len(task.base_models))
    return Update(task.planned(), weight, result.tensors, result.extras, {"loss": lanes, "accuracy": lanes})


def checked_update(content: Mapping[str, Any], expected: Update) -> Update:
    """The update in an answer.

    Raises:
        BadMessage: it is not what was asked for; the text says why.
    """
    model = expected.task.spec.model
    try:
        update = Update.from_dict(content["update"], model)
        weight = float(update.weight)
    except Exception as error:  # whatever values that are no update end in
        raise BadMessage(f"malformed ({type(error).__name__})") from error
    task = expected.task
    if update.task.round != task.round:
        raise BadMessage(f"of another round: {str(update.task.round)[:20]} where {task.round} was asked for")
    for item in fields(ClientTask):
        if item.name != "settings" and getattr(update.task, item.name) != getattr(task, item.name):
            raise BadMessage(f"another task than was asked for: its {item.name} differs")
    if weight != expected.weight:
        raise BadMessage(f"says {weight:g} training images, where the client has {expected.weight:g}")
    for kind in ("tensors", "extras", "measurements"):
        if wrong := misfit(getattr(update, kind), getattr(expected, kind)):
            raise BadMessage(wrong)
    return Update(task, expected.weight, update.tensors, update.extras, update.measurements)


def seconds_told(content: Mapping[str, Any]) -> float | None:
    """How long a node says that it took; None where that is no time."""
    seconds = content.get("seconds")
    return round(seconds, 3) if type(seconds) is float and 0 <= seconds < math.inf else None


def misfit(values: Tensors, expected: Tensors) -> str | None:
    """What is wrong with tensors, in words; None if they have the names, shapes and types, and are finite."""
    if values.keys() != expected.keys():
        names = sorted(values.keys() ^ expected.keys())
        return f"other tensors than expected, such as {names[0][:60]}"
    for name, like in expected.items():
        value = values[name]
        if value.shape != like.shape:
            return f"wrong shape: {name} is {list(value.shape)[:8]} instead of {list(like.shape)}"
        if value.dtype != like.dtype:
            return f"wrong type: {name} is {value.dtype} instead of {like.dtype}"
        if value.is_floating_point() and not torch.isfinite(value).all():
            return f"not finite: {name} has infinite values or NaN"
    return None
