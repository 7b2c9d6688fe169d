"""What the engine's workers do: train a pack of lanes, evaluate a part of the clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from splitmix.algorithms.values import ServerState
from splitmix.data.dataset import ImageSet
from splitmix.engine.lane_starts import fetch_from
from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.packing import Pack
from splitmix.engine.shared_memory import views
from splitmix.evaluation.task import ClientsTask
from splitmix.models.network import lane_template


@dataclass(frozen=True)
class TrainTask:
    """Train a pack at a learning rate; gives losses, right predictions and seconds of gathering."""

    pack: Pack
    lr: float


@dataclass(frozen=True)
class LaneTasks:
    """Does tasks of the engine; sent to each worker once.

    Attributes:
        trainer: trains the packs.
        train_set, test_set: the two splits.
        state: the federation, in shared memory: the parent keeps its tensors up to date (its round stays 0).
        rows: the clients' rows, in shared memory: tasks only refer to them.
    """

    trainer: LaneTrainer
    train_set: ImageSet
    test_set: ImageSet
    state: ServerState
    rows: Sequence[Tensor]

    def __call__(self, task: TrainTask | ClientsTask[Any], slot: Tensor) -> Any:
        """Do a task; trained lanes go into the slot."""
        return self.evaluate(task) if isinstance(task, ClientsTask) else self.train(task, slot)

    def evaluate(self, task: ClientsTask[Any]) -> Any:
        trainer = self.trainer
        return task.run(trainer.method, self.state, self.train_set, self.test_set, 1, trainer.place.dtype, trainer.seed)

    def train(self, task: TrainTask, slot: Tensor) -> tuple[Tensor, Tensor, float]:
        state = replace(self.state, round=task.pack.round)
        result = self.trainer.train(task.pack, task.lr, fetch_from(self.trainer.method, state))
        for name, room in views(slot, lane_template(task.pack.spec, len(task.pack.lanes))).items():
            room.copy_(result.tensors[name])
        return result.losses, result.correct, result.data_s
