"""The engine: trains and evaluates the lanes of a round, in this process or shared out over worker processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, ServerState
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.engine.device_packs import trained_here
from splitmix.engine.finishing import Trained, added_up, finished
from splitmix.engine.lane_memory import planned_lanes
from splitmix.engine.lane_starts import fetch_from
from splitmix.engine.lane_tasks import TrainTask
from splitmix.engine.lane_trainer import LaneTrainer, PackResult
from splitmix.engine.lane_workers import LaneWorkers
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.packing import Pack, plan_packs
from splitmix.engine.ranks import Ranks
from splitmix.engine.server_rows import ServerRows, lanes_are_rows
from splitmix.engine.settings import EngineSettings
from splitmix.engine.shared_memory import bytes_needed, views
from splitmix.engine.shares import evaluate_together, ranks_for, train_together
from splitmix.engine.tuning import measured_lanes
from splitmix.engine.worker_process import keep_freed_memory
from splitmix.engine.workers import WorkerPool
from splitmix.errors import UserError
from splitmix.evaluation.task import ClientsTask, Result
from splitmix.models.network import NetworkSpec, lane_template

TASKS_PER_WORKER = 4
CLIENTS_TOGETHER = 64  # batches that a GPU evaluates in one pass, as far as its memory allows


class Engine:
    """Trains packs of lanes and evaluates clients.

    Args:
        settings: where and how fast.
        fabric: device and precision, from `settings.fabric()`.
        method, optimizer: what lanes are and how they step.
        dataset: its images are put on the device once, as uint8.
        batch_size: images per step, for measuring.
        seed: of the lanes' own randomness.
        rows: index tensors that tasks are made of, such as the clients' rows; workers are sent them once.
        leads: whether this is rank zero, which asks the others.

    Attributes:
        source: how other ranks read the dataset; without it they are sent the images.
        tuned: what `auto` chose: `workers`, and lanes by network. A resumed run takes it over, so that it computes
            the same bits.
    """

    def __init__(
        self,
        settings: EngineSettings,
        fabric: Fabric,
        method: Method,
        optimizer: SGD | Adam,
        dataset: Dataset,
        batch_size: int = 32,
        seed: int = 0,
        rows: Sequence[Tensor] = (),
        leads: bool = True,
    ):
        self.settings = settings
        self.dataset, self.leads = dataset, leads
        self.source: Callable[[], Dataset] | None = None
        self.fabric = fabric
        self.method = method
        self.train_set, self.test_set = self.on_device(dataset.train), self.on_device(dataset.test)
        self.batch_size = batch_size
        place = settings.place(fabric.device)
        self.trainer = LaneTrainer(place, method, optimizer, self.train_set, dataset.augmentation, seed)
        self.tuned: dict[str, int] = {}
        self.lane_workers = LaneWorkers(self.trainer, self.train_set, self.test_set, rows)
        self.together = 1 if fabric.device.type == "cpu" else CLIENTS_TOGETHER
        if fabric.device.type == "cpu":
            keep_freed_memory()

    def on_device(self, split: ImageSet) -> ImageSet:
        return replace(split, images=self.fabric.to_device(split.images), labels=self.fabric.to_device(split.labels))

    @property
    def tuned_numbers(self) -> dict[str, int]:
        """What `auto` chose, for a checkpoint; on which kind of device stands in the names."""
        return {f"{self.fabric.device.type} {name}": value for name, value in self.tuned.items()}

    def adopt(self, numbers: Mapping[str, int]) -> None:
        """Take over the choices of a run that stopped, as far as they were made for this kind of device."""
        prefix = f"{self.fabric.device.type} "
        self.tuned |= {name.removeprefix(prefix): n for name, n in numbers.items() if name.startswith(prefix)}

    @property
    def workers(self) -> int:
        """Number of processes at work."""
        if isinstance(self.settings.workers, int):
            return self.settings.workers
        return self.tuned.setdefault("workers", self.settings.worker_processes)

    def lanes_of(self, spec: NetworkSpec) -> int:
        """The most lanes of this architecture in one pack."""
        if isinstance(self.settings.lanes, int):
            return self.tuned.get(spec.label, self.settings.lanes)  # memory may have run out since
        if spec.label not in self.tuned:
            choose = planned_lanes if self.fabric.device.type == "cuda" else measured_lanes
            self.tuned[spec.label] = choose(self.trainer, spec, self.batch_size)
        return self.tuned[spec.label]

    @property
    def others(self) -> Ranks | None:
        """The other ranks, told of this engine if need be; None for a run of one rank."""
        return ranks_for(self) if self.leads and self.settings.ranks > 1 else None

    @property
    def pool(self) -> WorkerPool | None:
        """The worker processes, if they have been started."""
        return self.lane_workers.pool

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Use the configured number of CPU threads; one with workers."""
        before = torch.get_num_threads()
        torch.set_num_threads(1 if self.workers > 1 else self.settings.cpu_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def train(
        self,
        state: ServerState,
        tasks: Sequence[ClientTask],
        batches: Sequence[Sequence[Tensor]],
        weights: Sequence[float],
        lr: float,
        sums: bool = False,
    ) -> Generator[Trained]:
        """Train every planned task from what its client downloads, on its batches of training rows.

        Yields what comes back pack by pack, in an order that the arguments and settings decide. A task without a lane
        or a batch gives nothing. Close the generator if it is not exhausted.

        Args:
            weights: of each task's update: the client's number of training samples.
            sums: updates may come back as sums (see `Trained`), which moves fewer bytes.

        Raises:
            UserError: memory ran out, or a worker died.
        """
        weight_of = {task.client: weight for task, weight in zip(tasks, weights, strict=True)}
        with self.threads():
            packs, others = plan_packs(tasks, batches, self.lanes_of, self.workers * self.settings.ranks), self.others
            # An error where the results are used must not leave a half-done round behind.
            of_round = state, packs, lr, weight_of
            run = self.train_packs(*of_round, sums) if others is None else train_together(self, others, *of_round)
            with closing(run) as results:
                yield from results

    def train_packs(
        self, state: ServerState, packs: Sequence[Pack], lr: float, weights: Mapping[int, float], sums: bool = False
    ) -> Generator[Trained]:
        """Train packs on this rank; `weights` are by client. With `sums` updates may come back as sums."""
        rows = ServerRows(state, self.trainer.place, weights) if sums and self.adds_on_device(state) else None
        if self.workers > 1:
            run = self.in_workers(state, packs, lr)
        else:
            run = trained_here(self.trainer, packs, lr, fetch_from(self.method, state), self.tuned, rows)
        with closing(run) as results:
            ended = self.finished(state, results, lr, weights)
            yield from ended if rows is None else added_up(ended, rows.aggregate)

    def finished(
        self, state: ServerState, results: Iterable[tuple[Pack, PackResult]], lr: float, weights: Mapping[int, float]
    ) -> Iterator[Trained]:
        """What clients make of their trained lanes."""
        fetch, trainer = fetch_from(self.method, state, finishing=True), self.trainer
        for pack, result in results:
            yield from finished(self.method, pack, result, lr, weights, fetch, trainer.labels, trainer.seed)

    def adds_on_device(self, state: ServerState) -> bool:
        """Whether lanes are added up where they are trained: on a GPU, where their sum is all that a method needs."""
        # One lane at a time gives the same bits with any number of ranks, since rank zero adds up all updates itself.
        packed = self.settings.lanes != 1 and self.workers == 1
        return self.fabric.device.type == "cuda" and packed and lanes_are_rows(self.method, state)

    def in_workers(self, state: ServerState, packs: Sequence[Pack], lr: float) -> Generator[tuple[Pack, PackResult]]:
        """Train packs in worker processes."""
        if not packs:
            return
        room = max(bytes_needed(lane_template(pack.spec, len(pack.lanes))) for pack in packs)
        clients = sorted({lane.client for pack in packs for lane in pack.lanes})
        pool = self.lane_workers.ready(self.workers, state, room, clients)
        with closing(pool.map([TrainTask(pack, lr) for pack in packs])) as results:
            for pack, ((losses, correct, data_s), slot) in zip(packs, results, strict=True):
                tensors = views(slot, lane_template(pack.spec, len(pack.lanes)))
                yield pack, PackResult(tensors, losses, correct, data_s)

    def evaluate(self, state: ServerState, task: ClientsTask[Result]) -> Result:
        """What a task measures of the models of a server, its clients shared out over the ranks and workers."""
        # Of what the clients remember, only their own entries of the model are needed.
        state = ServerState(state.round, state.tensors, clients=state.local, slots=state.slots).dense()
        task = replace(task, rounds=state.round)
        others = self.others
        return self.evaluate_alone(state, task) if others is None else evaluate_together(self, others, state, task)

    def evaluate_alone(self, state: ServerState, task: ClientsTask[Result]) -> Result:
        """`evaluate` on this rank, its clients shared out over the workers."""
        with self.threads():
            if self.workers == 1:
                return self.evaluate_here(state, task)
            task = task.prepared(self.method, state, self.train_set, self.settings.dtype)
            most = TASKS_PER_WORKER * self.workers
            tasks = task.parts(self.method, bool(state.clients), most)
            with closing(self.lane_workers.ready(self.workers, state).map(tasks)) as results:
                return task.joined([part for part, _ in results])

    def evaluate_here(self, state: ServerState, task: ClientsTask[Result]) -> Result:
        """`evaluate` in this process."""
        dtype, seed = self.settings.dtype, self.trainer.seed
        while True:
            try:
                return task.run(
                    self.method, state, self.train_set, self.test_set, self.together, dtype, seed, self.free_memory
                )
            except torch.OutOfMemoryError:
                if self.together == 1:
                    raise UserError("the device has too little memory to evaluate: lower batch_size") from None
            self.together //= 2
            self.free_memory()

    def free_memory(self) -> None:
        """Give back the device's memory that waits for the next round."""
        self.trainer.cache.clear()
        torch.cuda.empty_cache()

    def describe(self) -> dict[str, Any]:
        """What a number can depend on, as results.json records it: device, precision, workers, lanes, threads."""
        lanes = {name: lanes for name, lanes in self.tuned.items() if name != "workers"}
        return self.settings.used(self.fabric.device, self.workers, lanes)

    def close(self) -> None:
        """End the workers; the next round starts new ones."""
        self.lane_workers.close()
