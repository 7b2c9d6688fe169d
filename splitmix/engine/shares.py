"""A round, or an evaluation, shared out over ranks: what each is asked for, what it answers, and in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from splitmix.algorithms.values import Aggregate, ServerState
from splitmix.data.dataset import Dataset
from splitmix.engine.finishing import Trained, kept
from splitmix.engine.packing import Pack
from splitmix.engine.ranks import Ranks, ranks_of
from splitmix.errors import UserError
from splitmix.evaluation.task import ClientsTask, Result
from splitmix.models.network import Tensors

if TYPE_CHECKING:
    from splitmix.engine.engine import Engine


@dataclass(frozen=True)
class Share:
    """What a rank has made of its packs.

    Attributes:
        trained: what came back, with the numbers of the packs; in a round of partial sums without uploaded tensors.
        aggregate: the rank's partial sums; None where every update is sent.
    """

    trained: list[tuple[int, Trained]]
    aggregate: Aggregate | None


def by_cost(packs: Sequence[Pack], ranks: int) -> list[list[int]]:
    """Numbers of the packs of each rank, ascending: the costliest first, each to the rank with the least so far."""
    shares: list[list[int]] = [[] for _ in range(ranks)]
    costs = [0.0] * ranks
    for number in sorted(range(len(packs)), key=lambda number: -packs[number].cost):
        least = min(range(ranks), key=lambda rank: costs[rank])
        shares[least].append(number)
        costs[least] += packs[number].cost
    return [sorted(share) for share in shares]


def train_together(
    engine: Engine, ranks: Ranks, state: ServerState, packs: Sequence[Pack], lr: float, weights: Mapping[int, float]
) -> Generator[Trained]:
    """Train packs on all ranks, this one too; yields what comes back as if it had all been trained here.

    Where models are trained one at a time (engine.lanes=1), every update is sent to rank zero, which adds them up in
    the order of the packs: the sums are those of one rank, bit for bit. Otherwise each rank adds up its own, and rank
    zero adds the ranks' sums, in their order; that moves fewer bytes, and is equal to rounding.
    """
    exact = engine.settings.lanes == 1
    shares = by_cost(packs, ranks.count)
    rank_tasks = []
    for numbers in shares[1:]:
        some = [packs[index] for index in numbers]
        clients = sorted({lane.client for pack in some for lane in pack.lanes})
        rows = state.rows(clients)
        rank_tasks.append((some, numbers, {client: weights[client] for client in clients}, clients, rows))
    number = ranks.ask("train", (state.round, state.tensors, state.server, lr, exact), rank_tasks)
    mine = engine.train_packs(state, [packs[index] for index in shares[0]], lr, weights, sums=True)
    everything: list[tuple[int, Trained]] = []
    with closing(mine) as results:
        for index, trained in enumerate(results):
            ranks.check()
            if exact:
                everything.append((shares[0][index], kept(trained)))
            else:
                yield trained
    for share in ranks.answers(number):
        if exact:
            everything += share.trained
            continue
        trained_there = [trained for _, trained in share.trained]
        yield from trained_there[:-1]
        yield from (replace(last, sums=share.aggregate) for last in trained_there[-1:])
    yield from (trained for _, trained in sorted(everything, key=lambda one: one[0]))


def evaluate_together(engine: Engine, ranks: Ranks, state: ServerState, task: ClientsTask[Result]) -> Result:
    """Evaluate the clients of a task on all ranks, neighbouring ones on the same."""
    task = task.prepared(engine.method, state, engine.train_set, engine.settings.dtype)
    task = replace(task, shared_calibration=None)
    parts = task.parts(engine.method, bool(state.clients), ranks.count)
    rank_tasks: list[Any] = []
    for part in parts[1:]:
        clients = list(range(part.first, part.first + len(part.batches)))
        rank_tasks.append((part, clients, {name: value[clients] for name, value in state.clients.items()}))
    rank_tasks += [None] * (ranks.count - 1 - len(rank_tasks))
    number = ranks.ask("evaluate", (state.round, state.tensors), rank_tasks)
    first = engine.evaluate_alone(state, parts[0])
    return task.joined([first, *(part for part in ranks.answers(number) if part is not None)])


class Follower:
    """Answers what rank zero asks, with an engine of its own.

    Attributes:
        engine: of the federation that rank zero works for; None before the first.
    """

    def __init__(self, rank: int):
        self.rank = rank
        self.engine: Engine | None = None

    def answer(self, kind: str, common: Any, rank_task: Any) -> Any:
        """Take over an engine's parts (`engine`), train packs (`train`), evaluate clients (`evaluate`)."""
        if kind == "engine":
            return self.take_over(*common)
        assert self.engine is not None
        if rank_task is None:
            return None
        return self.train(common, rank_task) if kind == "train" else self.evaluate(common, rank_task)

    def take_over(self, settings: Any, source: Any, *parts: Any) -> str:
        """Make an engine of these parts, the dataset read here if it is told how; returns the images' fingerprint."""
        from splitmix.engine.engine import Engine

        self.close()
        dataset: Dataset = source() if callable(source) else source
        method, optimizer, batch_size, seed = parts
        self.engine = Engine(settings, settings.fabric(), method, optimizer, dataset, batch_size, seed, leads=False)
        return fingerprint(dataset)

    def train(self, common: Any, rank_task: Any) -> Share:
        assert self.engine is not None
        number, tensors, server, lr, exact = common
        packs, numbers, weights, clients, rows = rank_task
        method = self.engine.method
        slots = torch.zeros(len(method.problem.budgets), dtype=torch.int64)
        slots[clients] = torch.arange(len(clients))
        state = ServerState(number, tensors, server, rows, slots if rows else None)
        aggregate = None if exact else method.no_updates(state)
        trained = []
        run = self.engine.train_packs(state, packs, lr, weights, sums=True)
        with self.engine.threads(), closing(run) as results:
            for index, one in enumerate(results):
                if aggregate is not None:
                    aggregate = one.into(aggregate, method)
                    one = replace(one, update=replace(one.update, tensors={}, extras={}), in_sums=True, sums=None)
                # In a round of partial sums packs may have been halved, and their numbers do not count.
                trained.append((numbers[index] if exact else 0, kept(one)))
        return Share(trained, aggregate)

    def evaluate(self, common: Any, rank_task: Any) -> Any:
        assert self.engine is not None
        number, tensors = common
        task, clients, rows = rank_task
        state = ServerState(number, tensors, clients=spread(rows, clients, clients[-1] + 1))
        return self.engine.evaluate_alone(state, task)

    def close(self) -> None:
        """End the worker processes."""
        if self.engine is not None:
            self.engine.close()


def spread(rows: Tensors, clients: Sequence[int], total: int) -> Tensors:
    """Memories of neighbouring clients at their places; those of the others are undefined."""
    places: Tensors = {}
    for name, value in rows.items():
        places[name] = value.new_empty(total, *value.shape[1:])
        places[name][list(clients)] = value
    return places


def ranks_for(engine: Engine) -> Ranks:
    """The other ranks, started if need be, with what they need to work for this engine.

    Raises:
        UserError: they do not come; a rank reads other images, or cannot read them.
    """
    settings = engine.settings
    ranks = ranks_of(settings.devices, settings.num_nodes, settings.instructions == "portable")
    if ranks.engine is engine:
        return ranks
    source = engine.source or engine.dataset
    parts = (settings, source, engine.method, engine.trainer.optimizer, engine.batch_size, engine.trainer.seed)
    number = ranks.ask("engine", parts)
    ours = fingerprint(engine.dataset)
    for rank, theirs in enumerate(ranks.answers(number), 1):
        if theirs != ours:
            raise UserError(f"rank {rank} reads other images than rank zero: give every machine the same dataset")
    ranks.engine = engine
    return ranks


def fingerprint(dataset: Dataset) -> str:
    """What tells datasets apart: shapes, all labels, a few images of each split."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        some = split.images[:: max(1, len(split.images) // 16)]
        for value in (split.labels, some):
            digest.update(str(list(split.images.shape)).encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
