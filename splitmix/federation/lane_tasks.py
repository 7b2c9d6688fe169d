"""What the engine's workers do: train a pack of lanes, evaluate a part of the clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from splitmix.algorithms.base import ServerState
from splitmix.data.dataset import ImageSet
from splitmix.evaluation.accuracy import Accuracy
from splitmix.evaluation.task import EvaluationTask
from splitmix.federation.lane_trainer import LaneTrainer
from splitmix.federation.packing import Pack
from splitmix.federation.shared_memory import views
from splitmix.models.network import Tensors, lane_template


@dataclass(frozen=True)
class TrainTask:
    """Train a pack in a round at a learning rate; gives losses, right predictions and seconds of gathering."""

    round: int
    pack: Pack
    lr: float


@dataclass(frozen=True)
class LaneTasks:
    """Does tasks of the engine; sent to each worker once.

    Attributes:
        trainer: trains the packs.
        train_set, test_set: the two splits.
        tensors, local: the server's, in shared memory: the parent keeps them up to date.
        rows: the clients' rows, in shared memory: tasks only refer to them.
    """

    trainer: LaneTrainer
    train_set: ImageSet
    test_set: ImageSet
    tensors: Tensors
    local: Tensors
    rows: Sequence[Tensor]

    def __call__(self, task: TrainTask | EvaluationTask, slot: Tensor) -> Any:
        """Do a task; trained lanes go into the slot."""
        return self.evaluate(task) if isinstance(task, EvaluationTask) else self.train(task, slot)

    def evaluate(self, task: EvaluationTask) -> Accuracy:
        state = ServerState(self.trainer.method, 0, self.tensors, self.local)
        return task.run(state, self.train_set, self.test_set, 1, self.trainer.place.dtype, self.trainer.seed)

    def train(self, task: TrainTask, slot: Tensor) -> tuple[Tensor, Tensor, float]:
        state = ServerState(self.trainer.method, task.round, self.tensors, self.local)
        result = self.trainer.train(state, task.pack, task.lr)
        for name, room in views(slot, lane_template(task.pack.spec, len(task.pack.lanes))).items():
            room.copy_(result.tensors[name])
        return result.losses, result.correct, result.data_s
