"""Checkpoints: a server state on disk, written beside and renamed, loaded weights-only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from splitmix.algorithms.base import Method, ServerState
from splitmix.errors import UserError
from splitmix.files import write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """A saved server.

    Attributes:
        state: the server after `state.round` rounds.
        best_round: 0-based round of the best validation accuracy so far; -1 before the first validation.
        best_value: that accuracy, in [0, 1].
        wall_s: seconds spent on the run so far.
        engine: what the engine chose where it was told `auto` (see `Engine.choices`).
    """

    state: ServerState
    best_round: int
    best_value: float
    wall_s: float
    engine: dict[str, int] = field(default_factory=dict)

    def choices_without(self, said: frozenset[str]) -> dict[str, int]:
        """What the engine chose, but for what the user says now: `workers`, or all numbers of `lanes`."""
        kinds = {name: "workers" if name.endswith(" workers") else "lanes" for name in self.engine}
        return {name: number for name, number in self.engine.items() if kinds[name] not in said}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Save atomically; UserError if the disk is full (the last good file stays)."""
    content = {
        "schema": SCHEMA,
        "round": checkpoint.state.round,
        "tensors": checkpoint.state.tensors,
        "local": checkpoint.state.local,
        "best_round": checkpoint.best_round,
        "best_value": checkpoint.best_value,
        "wall_s": checkpoint.wall_s,
        "engine": dict(checkpoint.engine),
    }
    write_atomically(path, lambda file: torch.save(content, file))


def load_checkpoint(path: Path, method: Method) -> Checkpoint:
    """Load a checkpoint of this method, executing nothing from the file.

    Raises:
        UserError: missing, truncated or no checkpoint, or tensors that do not fit the method.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: this run has no such checkpoint") from None
    except Exception as error:
        raise UserError(f"{path} is truncated or not a checkpoint ({type(error).__name__}): use another") from error
    needed = {"round", "tensors", "best_round", "best_value", "wall_s"}
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not needed <= content.keys():
        raise UserError(f"{path} is not a checkpoint of splitmix (schema {SCHEMA}): use another")
    fresh = method.initial_state(0)
    expected = {**fresh.tensors, **{f"local {name}": value for name, value in fresh.local.items()}}
    tensors = {**content["tensors"], **{f"local {name}": value for name, value in content.get("local", {}).items()}}
    problems = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    problems += [f"{name} is unknown" for name in tensors.keys() - expected.keys()]
    problems += [
        f"{name} has shape {list(tensors[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        raise UserError(f"{path} does not fit the run's config: {'; '.join(sorted(problems))}")
    ordered = {name: content["tensors"][name] for name in fresh.tensors}
    state = ServerState(method, content["round"], ordered, {name: content["local"][name] for name in fresh.local})
    return Checkpoint(state, content["best_round"], content["best_value"], content["wall_s"], content.get("engine", {}))
