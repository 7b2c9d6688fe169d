"""Checkpoints: a server state on disk, written beside and renamed, loaded weights-only, checked by content."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import warnings
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitmix.algorithms.client_rows import with_start, wrong_slots
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.errors import UserError
from splitmix.federation.finite import not_finite
from splitmix.files import write_atomically
from splitmix.models.network import Tensors
from splitmix.regular_files import open_regular

log = logging.getLogger("splitmix")

SCHEMA = 2
SCALARS = ("schema", "round", "best_round", "best_value", "wall_s", "engine")
SCOPES = {"tensors": "", "server": "server ", "clients": "client "}
"""Parts of a server state, and what stands before the names of their entries in messages."""


@dataclass(frozen=True)
class Checkpoint:
    """A saved server.

    Attributes:
        state: the server after `state.round` rounds.
        best_round: 0-based round of the best validation accuracy so far; -1 before the first validation.
        best_value: that accuracy, in [0, 1].
        wall_s: seconds spent on the run so far.
        engine: what the engine chose where it was told `auto` (see `Engine.tuned_numbers`).
        checksum: of the content that was loaded; empty for one that was not.
    """

    state: ServerState
    best_round: int
    best_value: float
    wall_s: float
    engine: dict[str, int] = field(default_factory=dict)
    checksum: str = ""

    def tuned_without(self, said: frozenset[str]) -> dict[str, int]:
        """What the engine chose, but for what the user says now: `workers`, or all numbers of `lanes`."""
        kinds = {name: "workers" if name.endswith(" workers") else "lanes" for name in self.engine}
        return {name: number for name, number in self.engine.items() if kinds[name] not in said}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Save atomically, with a checksum of the content.

    Raises:
        UserError: a value that is not finite, or a full disk; the last good file stays.
    """
    state = checkpoint.state
    if name := not_finite(state):
        raise UserError(f"{path}: {name} is not finite after {state.round} rounds; the last good checkpoint stays")
    content = {
        "schema": SCHEMA,
        "round": state.round,
        **{scope: getattr(state, scope) for scope in SCOPES},
        "best_round": checkpoint.best_round,
        "best_value": checkpoint.best_value,
        "wall_s": checkpoint.wall_s,
        "engine": dict(checkpoint.engine),
    }
    if state.slots is not None:
        content["slots"] = state.slots
    if wrong := wrong_values(content):
        raise UserError(f"{path}: cannot be saved, {wrong}; the last good checkpoint stays")
    content["sha256"] = checksum(content)
    write_atomically(path, lambda file: torch.save(content, file))


def checksum(content: dict[str, Any]) -> str:
    """SHA-256, in hex, of a checkpoint's plain values, and of its tensors' names, types, shapes and bytes."""
    digest = hashlib.sha256(json.dumps({key: content[key] for key in SCALARS}, sort_keys=True).encode())
    for scope in SCOPES:
        for name, value in sorted(content[scope].items()):
            # In the first schema the clients' memory was called local, and the server had none.
            stored = "local" if scope == "clients" and content["schema"] == 1 else scope
            digest.update(json.dumps([stored, name, str(value.dtype), list(value.shape)]).encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    if isinstance(slots := content.get("slots"), Tensor):
        digest.update(b"slots" + slots.numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path, method: Method, rounds: int | None = None) -> Checkpoint:
    """Load a checkpoint of this method, executing nothing from the file.

    Args:
        rounds: how many rounds the run has; a checkpoint after more is refused.

    Raises:
        UserError: missing, truncated or no checkpoint, values that are wrong or changed since it was saved, or tensors
            that do not fit the method.
    """
    content = read_content(path)
    if wrong := wrong_values(content, rounds):
        raise UserError(f"{path} is damaged ({wrong}): use another")
    fresh = method.initial_state(0)
    slots = content.get("slots")
    if slots is not None and fresh.slots is None:
        raise UserError(f"{path} does not fit the run's config: its clients' memory is of another kind")
    if slots is None and fresh.slots is not None:
        # Earlier versions gave every client a row.
        full = {name: value.expand(len(fresh.slots), *value.shape[1:]) for name, value in fresh.clients.items()}
        fresh = replace(fresh, clients=full)
    elif fresh.slots is not None:
        count = max((len(value) for value in content["clients"].values() if getattr(value, "ndim", 0)), default=0)
        if wrong := wrong_slots(slots, count, len(fresh.slots)):
            raise UserError(f"{path} is damaged ({wrong}): use another")
        # As many rows as clients have trained.
        rows = {name: value.expand(count, *value.shape[1:]) for name, value in fresh.clients.items()}
        fresh = replace(fresh, clients=rows)
    parts = {scope: (content[scope], getattr(fresh, scope)) for scope in SCOPES}
    if problems := [text for scope, both in parts.items() for text in misfits(*both, SCOPES[scope])]:
        raise UserError(f"{path} does not fit the run's config: {'; '.join(sorted(problems))}")
    digest = checksum(content)
    if "sha256" not in content:
        log.info(f"note: {path} has no checksum: it was saved by an earlier version")
    elif content["sha256"] != digest:
        raise UserError(f"{path} is damaged (its content is not what was saved, by its checksum): use another")
    ordered = {scope: {name: saved[name] for name in like} for scope, (saved, like) in parts.items()}
    if slots is None and fresh.slots is not None:
        start = {name: value[:1] for name, value in fresh.clients.items()}
        ordered["clients"], slots = with_start(ordered["clients"], start)
    state = ServerState(content["round"], **ordered, slots=slots)
    if name := not_finite(state):
        raise UserError(f"{path} is damaged ({name} has values that are not finite): use another")
    best = content["best_round"], content["best_value"]
    return Checkpoint(state, *best, content["wall_s"], content["engine"], digest)


def read_content(path: Path) -> dict[str, Any]:
    """What a checkpoint's file holds, as data only; keys that earlier versions lacked are filled in.

    Raises:
        UserError: missing, truncated, or not a checkpoint.
    """
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as archive:
                # We store without compression, so that a small file cannot unpack to a large one.
                if any(entry.compress_type or entry.file_size != entry.compress_size for entry in archive.filelist):
                    raise ValueError("compressed")
            file.seek(0)
            with warnings.catch_warnings():  # torch's, of kinds of tensors that are refused below
                warnings.simplefilter("ignore")
                content = torch.load(file, map_location="cpu", weights_only=True)
    except UserError as error:
        raise UserError(f"{error}, so it is not a checkpoint: use another") from error
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: this run has no such checkpoint") from None
    except Exception as error:  # whatever torch meets in a damaged file
        raise UserError(f"{path} is truncated or not a checkpoint ({type(error).__name__}): use another") from error
    needed = {"round", "tensors", "best_round", "best_value", "wall_s"}
    known = isinstance(content, dict) and type(content.get("schema")) is int and 1 <= content["schema"] <= SCHEMA
    if not known or not needed <= content.keys():
        raise UserError(f"{path} is not a checkpoint of splitmix (schema {SCHEMA}): use another")
    return {"server": {}, "clients": content.get("local", {}), "engine": {}, **content}


def wrong_values(content: dict[str, Any], rounds: int | None = None) -> str | None:
    """What is wrong with the plain values of a checkpoint; None if nothing is.

    No value is part of the message: one in a hostile file can be endless.
    """
    if not is_whole(content["round"], 0) or (rounds is not None and content["round"] > rounds):
        return f"its round is no whole number from 0 to {rounds}" if rounds else "its round is no whole number"
    if not is_whole(content["best_round"], -1):
        return "its best_round is no whole number from -1"
    for key in ("best_value", "wall_s"):
        if type(content[key]) not in (int, float) or not math.isfinite(content[key]):
            return f"its {key} is no finite number"
    engine = content["engine"]
    if not isinstance(engine, dict) or not all(isinstance(k, str) and is_whole(n, 1) for k, n in engine.items()):
        return "its engine is no mapping of text to whole numbers from 1"
    for scope in SCOPES:
        if not isinstance(content[scope], dict) or not all(isinstance(name, str) for name in content[scope]):
            return f"its {scope} is no mapping of names to tensors"
    return None


def is_whole(value: Any, low: int) -> bool:
    """Whether a value is a whole number of at least `low`."""
    return type(value) is int and value >= low


def misfits(tensors: dict[str, Any], expected: Tensors, scope: str = "") -> list[str]:
    """In words, where tensors are not what is expected: names, dense and on the CPU, types, shapes."""
    problems = [f"{scope}{name} is missing" for name in expected.keys() - tensors.keys()]
    problems += [f"{scope}{name} is unknown" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        value, like = tensors[name], expected[name]
        # Sparse, without data, with a gradient, or a view that negates: nothing that we save.
        plain = type(value) is Tensor and value.layout == torch.strided and value.device.type == "cpu"
        if not plain or value.requires_grad or value.is_neg():
            problems.append(f"{scope}{name} is no plain tensor")
        elif value.dtype != like.dtype:
            problems.append(f"{scope}{name} has type {value.dtype} instead of {like.dtype}")
        elif value.shape != like.shape:
            problems.append(f"{scope}{name} has shape {list(value.shape)} instead of {list(like.shape)}")
    return problems
