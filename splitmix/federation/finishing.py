"""The end of a client's round: from trained lanes to what the client uploads and what it remembers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from splitmix.algorithms.base import LocalTraining
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, Update
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


@dataclass(frozen=True)
class TrainedLanes:
    """Lanes of one task as training left them.

    Attributes:
        tensors: `[lanes, ...]`.
        losses: loss summed over samples, `[lanes]`.
        correct: right predictions, `[lanes]`.
        samples: images that each lane has seen, counted as often as seen.
        data_s: seconds of gathering batches.
    """

    tensors: Tensors
    losses: Tensor
    correct: Tensor
    samples: int
    data_s: float


def finish(
    method: Method, task: ClientTask, memory: Tensors, lanes: TrainedLanes, training: LocalTraining, weight: float
) -> Trained:
    """What the client of this task makes of its lanes.

    Args:
        task: with what was downloaded, where the method `uses_start`.
        memory: what the client remembered for these lanes before.
        weight: its number of training samples.
    """
    result = method.finish(task, memory, lanes.tensors, training)
    measurements = {"loss": lanes.losses / lanes.samples, "accuracy": lanes.correct / lanes.samples}
    update = Update(task.planned(), weight, result.tensors, result.extras, measurements)
    return Trained(update, result.memory, lanes.data_s)
