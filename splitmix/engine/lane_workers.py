"""The engine's worker processes: they see the federation's state in shared memory, which is brought up to date here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from splitmix.algorithms.values import ServerState
from splitmix.data.dataset import ImageSet
from splitmix.engine.lane_tasks import LaneTasks
from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.shared_memory import bytes_needed, share, shared_bytes, views
from splitmix.engine.workers import WorkerPool
from splitmix.models.network import Tensors

PARTS = ("tensors", "server", "clients")
"""Of a server state; with a slash, prefixes of its entries in shared memory."""
SLOTS = "slots"


class LaneWorkers:
    """Worker processes that train packs and evaluate clients.

    Args:
        trainer: trains the packs; every worker makes one of its own.
        train_set, test_set: the two splits, moved to shared memory when workers first start.
        rows: index tensors that tasks are made of, such as the clients' rows; likewise.
    """

    def __init__(self, trainer: LaneTrainer, train_set: ImageSet, test_set: ImageSet, rows: Sequence[Tensor]):
        self.trainer = trainer
        self.train_set, self.test_set = train_set, test_set
        self.rows = rows
        self.shared: Tensors = {}
        self.pool: WorkerPool | None = None

    def ready(
        self, workers: int, state: ServerState, room: int = 0, clients: Sequence[int] | None = None
    ) -> WorkerPool:
        """Workers that see this state.

        Args:
            workers: number of processes.
            room: bytes that the large part of one result may take.
            clients: whose memory they need; None are all.
        """
        if state.slots is not None and clients is not None:
            state, clients = of_these(state, clients), None
        tensors = {f"{part}/{name}": value for part in PARTS for name, value in getattr(state, part).items()}
        if state.slots is not None:
            tensors[SLOTS] = state.slots
        known = {name: (value.shape, value.dtype) for name, value in self.shared.items()}
        fits = {name: (value.shape, value.dtype) for name, value in tensors.items()}.items() <= known.items()
        if self.pool is None or self.pool.closed or len(self.pool.pids) != workers:
            self.close()
            self.pool = WorkerPool(workers)
        if not fits or not self.pool.loaded or self.pool.slot_bytes < room:
            self.shared = views(shared_bytes(bytes_needed(tensors)), tensors)
            splits = (self.train_set, self.test_set)
            share([*(value for split in splits for value in (split.images, split.labels)), *self.rows])
            self.pool.load(self.tasks(), max(room, self.pool.slot_bytes))
        for name, value in tensors.items():
            if clients is not None and name.startswith("clients/"):
                self.shared[name][clients] = value[clients]
            else:
                self.shared[name].copy_(value)
        return self.pool

    def tasks(self) -> LaneTasks:
        """What workers need to know."""
        parts: dict[str, Tensors] = {part: {} for part in PARTS}
        for name, value in self.shared.items():
            part, _, entry = name.partition("/")
            if name != SLOTS:
                parts[part][entry] = value
        state = ServerState(0, **parts, slots=self.shared.get(SLOTS))
        return LaneTasks(self.trainer, self.train_set, self.test_set, state, self.rows)

    def close(self) -> None:
        """End the workers; the next round starts new ones."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None


def of_these(state: ServerState, clients: Sequence[int]) -> ServerState:
    """The state of very many clients with the rows of these alone, their number rounded up.

    Shared memory keeps its size then from round to round, though other clients take part and more have rows.
    """
    assert state.slots is not None
    count = len(clients)
    room = 1 << max(0, count - 1).bit_length()
    rows = {
        name: torch.cat([value, value.new_zeros(room - count, *value.shape[1:])])
        for name, value in state.rows(clients).items()
    }
    slots = torch.zeros_like(state.slots)
    slots[list(clients)] = torch.arange(count)
    return replace(state, clients=rows, slots=slots)
