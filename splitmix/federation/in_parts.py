"""Evaluation of clients in parts: it says how far it is, and parts that are known are not measured again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.engine.engine import Engine
from splitmix.evaluation.task import ClientsTask, Result

PIECES = 10
"""Parts of the clients."""


class KnownParts(Protocol):
    """Keeps the results of parts while the rest is measured."""

    def get(self, number: int) -> Any:
        """The result of a part; None if it is not known."""
        ...

    def put(self, number: int, result: Any) -> None:
        """Keep the result of a part, those before it being known."""
        ...


@dataclass(frozen=True)
class InParts:
    """How a long evaluation goes.

    Attributes:
        progress: called with the number of clients done, and of all; first with those that were known.
        known: keeps parts; None keeps none.
    """

    progress: Callable[[int, int], object] = lambda done, clients: None
    known: KnownParts | None = None

    def evaluate(self, engine: Engine, method: Method, state: ServerState, task: ClientsTask[Result]) -> Result:
        """What the engine gives for the whole task: draws and numbers do not depend on the parts."""
        task = task.prepared(method, state, engine.train_set, engine.settings.dtype)
        results: list[Result] = []
        parts = task.parts(method, bool(state.local), PIECES)
        if self.known is not None:
            while len(results) < len(parts) and (result := self.known.get(len(results))) is not None:
                results.append(result)
        done = sum(len(part.batches) for part in parts[: len(results)])
        self.progress(done, len(task.batches))
        for part in parts[len(results) :]:
            results.append(engine.evaluate(state, part))
            if self.known is not None:
                self.known.put(len(results) - 1, results[-1])
            done += len(part.batches)
            self.progress(done, len(task.batches))
        return task.joined(results)
