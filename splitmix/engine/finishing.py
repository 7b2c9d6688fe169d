"""The end of a client's round: from trained lanes to what the client uploads and what it remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from splitmix.algorithms.base import LocalTraining
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import Update
from splitmix.engine.lane_trainer import Fetch, PackResult
from splitmix.engine.packing import Pack
from splitmix.models.network import Tensors


@dataclass(frozen=True)
class Trained:
    """Lanes of a client that came back.

    Attributes:
        update: what the client uploads; its tensors are only valid until the next `Trained` is asked for.
        memory: what the client remembers for these lanes, `[lanes, ...]`; valid as long.
        data_s: seconds that the whole pack spent gathering batches, on its first `Trained`.
    """

    update: Update
    memory: Tensors
    data_s: float


def finished(
    method: Method, pack: Pack, result: PackResult, lr: float, weights: Mapping[int, float], fetch: Fetch
) -> Iterator[Trained]:
    """What the clients of a pack make of their lanes, one task after another.

    Args:
        result: the trained lanes, on the CPU.
        lr: learning rate of the round.
        weights: number of training samples by client.
        fetch: gives a planned task what its client downloaded, and what the client remembered before.
    """
    data_s = result.data_s
    for lanes, planned in pack.tasks():
        task, memory = fetch(planned)
        first = pack.lanes[lanes.start]
        tensors = {name: value[lanes] for name, value in result.tensors.items()}
        made = method.finish(task, memory, tensors, LocalTraining(lr, len(first.batches)))
        measurements = {
            "loss": result.losses[lanes] / first.samples,
            "accuracy": result.correct[lanes] / first.samples,
        }
        update = Update(task.planned(), weights[task.client], made.tensors, made.extras, measurements)
        yield Trained(update, made.memory, data_s)
        data_s = 0.0
