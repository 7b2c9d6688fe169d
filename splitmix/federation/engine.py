"""The engine: trains the lanes of a round on the device, one client after another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from splitmix.algorithms.base import Method, ServerState, Update, Work
from splitmix.data.dataset import ImageSet, to_float
from splitmix.errors import UserError
from splitmix.federation.client import ClientModule, reset_optimizer
from splitmix.federation.optimizers import SGD, Adam
from splitmix.models.network import NetworkSpec, Tensors

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class EngineSettings:
    """Settings of `engine`: where and how fast, never what is computed (up to rounding).

    Attributes:
        accelerator: auto, cpu, cuda or mps.
        precision: as Lightning names it: 32-true, bf16-mixed or 16-mixed.
        threads: CPU threads of PyTorch; 0 means all cores.
        lanes: base models of one client that are trained together; 1 trains one lane at a time.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"
    threads: int = 0
    lanes: int = 8

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if self.accelerator not in ACCELERATORS:
            raise UserError(f"engine.accelerator={self.accelerator}: choose one of {', '.join(ACCELERATORS)}")
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise UserError("engine.accelerator=cuda: no CUDA device is visible; use engine.accelerator=cpu")
        if self.precision not in PRECISIONS:
            raise UserError(f"engine.precision={self.precision}: choose one of {', '.join(PRECISIONS)}")
        if self.lanes < 1:
            raise UserError(f"engine.lanes={self.lanes}: give at least 1")
        if self.threads < 0:
            raise UserError(f"engine.threads={self.threads}: give a number of threads, or 0 for all cores")

    def fabric(self, loggers: Sequence[Any] = ()) -> Fabric:
        """The Fabric that owns device and precision; sets the number of CPU threads of this process."""
        self.check()
        torch.set_num_threads(self.threads or len(os.sched_getaffinity(0)))
        precision: Any = self.precision
        return Fabric(accelerator=self.accelerator, devices=1, precision=precision, loggers=list(loggers))


@dataclass(frozen=True)
class Trained:
    """An update with what its training measured, over the samples and lanes of the client.

    Attributes:
        losses: mean loss of each lane `[lanes]`.
        correct, samples: predictions that were right, predictions made.
    """

    update: Update
    losses: Tensor
    correct: int
    samples: int


class Engine:
    """Trains up to `lanes` base models of one client together; with one lane at a time it is the reference.

    Networks and optimizers are set up once per lane architecture; every client loads its lanes into them.
    """

    def __init__(self, fabric: Fabric, method: Method, optimizer: SGD | Adam, images: ImageSet, lanes: int = 1):
        self.fabric = fabric
        self.method = method
        self.optimizer = optimizer
        self.lanes = lanes
        self.images = fabric.to_device(images.images)
        self.labels = fabric.to_device(images.labels)
        self.clients: dict[tuple[NetworkSpec, int], tuple[ClientModule, Any, Any]] = {}

    def train(
        self,
        state: ServerState,
        works: Sequence[Work],
        batches: Sequence[list[Tensor]],
        weights: Sequence[float],
        lr: float,
    ) -> Iterator[Trained]:
        """Train every work from the server's tensors on its batches of training rows, in order."""
        for work, client_batches, weight in zip(works, batches, weights, strict=True):
            start = self.method.extract(state, work)
            count = len(work.rows)
            packs = [range(count)[low : low + self.lanes] for low in range(0, count, self.lanes)]
            parts = [self.train_lanes(work.spec, start, pack, client_batches, lr) for pack in packs]
            tensors = {name: torch.cat([part[0][name] for part in parts]) for name in start}
            samples = sum(len(rows) for rows in client_batches)
            losses = torch.cat([part[1] for part in parts]) / samples
            correct = sum(int(part[2].sum()) for part in parts)
            yield Trained(Update(work, weight, tensors), losses, correct, samples * count)

    def train_lanes(
        self, spec: NetworkSpec, start: Tensors, pack: Sequence[int], batches: list[Tensor], lr: float
    ) -> tuple[Tensors, Tensor, Tensor]:
        """Train some lanes of one client together: they see the same batches, each with its own loss.

        Returns:
            Their tensors, their losses summed over samples and their correct predictions, each `[lanes, ...]`.
        """
        module, wrapped, optimizer = self.client(spec, len(pack))
        module.network.load_lanes(start, pack)
        module.network.train()
        reset_optimizer(optimizer, lr)
        losses = torch.zeros(len(pack), device=self.fabric.device)
        correct = torch.zeros(len(pack), dtype=torch.int64, device=self.fabric.device)
        for rows in batches:
            optimizer.zero_grad(set_to_none=True)
            step = wrapped.training_step((to_float(self.images[rows]), self.labels[rows]))
            self.fabric.backward(step["loss"])
            optimizer.step()
            losses += step["losses"] * len(rows)
            correct += step["correct"]
        tensors = {name: value.cpu() for name, value in module.network.lane_tensors().items()}
        return tensors, losses.cpu(), correct.cpu()

    def client(self, spec: NetworkSpec, lanes: int) -> tuple[ClientModule, Any, Any]:
        """The module of this architecture and number of lanes, its Fabric wrapper and its optimizer."""
        if (spec, lanes) not in self.clients:
            module = ClientModule(self.method, spec.build(lanes), self.optimizer)
            wrapped, optimizer = self.fabric.setup(module, module.configure_optimizers())
            wrapped.mark_forward_method("training_step")
            self.clients[spec, lanes] = module, wrapped, optimizer
        return self.clients[spec, lanes]
