"""Training steps of so many lanes on any images, to measure how long they take or how much memory."""

from __future__ import annotations

import torch

from splitmix.algorithms.values import ClientTask
from splitmix.engine.lane_starts import fetch_from
from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.packing import Lane, Pack
from splitmix.models.network import NetworkSpec


class TrialSteps:
    """Steps of lanes that start from a new server; what they learn is of no use.

    Args:
        trainer: of the engine.
        spec: the network of each lane.
        lanes: how many there are.
        batch_size: images of each lane in a step.
    """

    def __init__(self, trainer: LaneTrainer, spec: NetworkSpec, lanes: int, batch_size: int):
        self.trainer = trainer
        self.trainable = trainer.trainable_lanes(spec, lanes)
        task = ClientTask(0, 0, spec, (0,) * lanes)
        pack = Pack(spec, tuple(Lane(task, lane, ()) for lane in range(lanes)), True)
        self.of_lanes = trainer.load(self.trainable, pack, fetch_from(trainer.method, trainer.method.initial_state(0)))
        self.rows = torch.arange(lanes * batch_size).view(lanes, batch_size) % len(trainer.images)

    def step(self, number: int) -> None:
        """One step; `number` steps have been done before."""
        rows = self.rows.to(self.trainer.place.device)
        self.trainer.step(self.trainable.whole, rows, number, self.of_lanes)
