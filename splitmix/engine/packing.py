"""Which lanes of a round are trained together: packs of lanes of equal shape, and their steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

from splitmix.algorithms.values import ClientTask
from splitmix.models.network import NetworkSpec
from splitmix.on_device import on_device


@dataclass(frozen=True)
class Lane:
    """One model trained by one client in this round.

    Attributes:
        task: the client's task, as planned.
        number: which of the task's lanes it is.
        batches: int64 rows of the training set, batch by batch; at least one.
    """

    task: ClientTask
    number: int
    batches: Sequence[Tensor]

    @property
    def client(self) -> int:
        """Index of the client."""
        return self.task.client

    @property
    def base_model(self) -> int:
        """The server's base model that the lane starts from."""
        return self.task.base_models[self.number]

    @property
    def samples(self) -> int:
        return sum(len(rows) for rows in self.batches)

    def class_counts(self, labels: Tensor, classes: int) -> Tensor:
        """Float `[classes]`, how many different images the lane has; `labels` are those of the training set."""
        ours = labels[on_device(torch.cat(list(self.batches)).unique(), labels.device)]
        ones = torch.ones_like(ours, dtype=torch.float32)
        return ones.new_zeros(classes).index_add_(0, ours, ones)


@dataclass(frozen=True)
class Step:
    """One optimizer step of neighbouring lanes `low` up to `high`, each on its own `size` images.

    Attributes:
        number: how many steps these lanes have done before.
        rows: int64 `[size]` when all lanes see the same images, else `[high - low, size]`.
    """

    low: int
    high: int
    number: int
    rows: Tensor


@dataclass(frozen=True)
class Pack:
    """Lanes of one architecture that are trained together.

    Attributes:
        spec: the network of each lane.
        lanes: those with more (then larger) batches first, so that lanes that step together stand side by side.
        shared: all lanes belong to one client and see the same images.
    """

    spec: NetworkSpec
    lanes: tuple[Lane, ...]
    shared: bool

    @property
    def round(self) -> int:
        """0-based round that the lanes are trained in."""
        return self.lanes[0].task.round

    def tasks(self) -> Iterator[tuple[slice, ClientTask]]:
        """Neighbouring lanes of one task, as that task with these lanes alone."""
        low = 0
        for _, group in groupby(self.lanes, key=lambda lane: id(lane.task)):
            lanes = list(group)
            yield slice(low, low + len(lanes)), lanes[0].task.select([lane.number for lane in lanes])
            low += len(lanes)

    def steps(self) -> Iterator[Step]:
        """All steps in order. Lanes whose batches differ in size step apart; a lane that has finished stays out."""
        for number in range(max(len(lane.batches) for lane in self.lanes)):
            sizes = [len(lane.batches[number]) if number < len(lane.batches) else 0 for lane in self.lanes]
            low = 0
            for size, run in groupby(sizes):
                high = low + len(list(run))
                if size:
                    batches = [lane.batches[number] for lane in self.lanes[low:high]]
                    yield Step(low, high, number, batches[0] if self.shared else torch.stack(batches))
                low = high

    def halves(self) -> tuple[Pack, Pack]:
        """Two packs of half the lanes each."""
        middle = len(self.lanes) // 2
        first, second = self.lanes[:middle], self.lanes[middle:]
        return Pack(self.spec, first, self.shared), Pack(self.spec, second, self.shared)

    @property
    def cost(self) -> float:
        """How long it takes, up to a factor: images x lanes x share of the network."""
        share = sum(width**2 for width in self.spec.members or (self.spec.width,))
        return sum(lane.samples for lane in self.lanes) * share * max(self.spec.depth, 1)


def plan_packs(
    tasks: Sequence[ClientTask],
    batches: Sequence[Sequence[Tensor]],
    lanes_of: Callable[[NetworkSpec], int],
    workers: int = 1,
) -> list[Pack]:
    """Pack the lanes of a round, the costliest packs first.

    A client's own lanes go together while they fill a pack, since their first layer can share its input; what is left
    is packed across clients, in packs of even size whose number `workers` divides. A task without a batch is left out.

    Args:
        tasks, batches: what every participant trains, and on which rows of the training set.
        lanes_of: the most lanes in a pack, by architecture.
        workers: number of processes that share the packs.
    """
    packs: list[Pack] = []
    rest: dict[NetworkSpec, list[Lane]] = defaultdict(list)
    for task, rows in zip(tasks, batches, strict=True):
        lanes = [Lane(task, number, rows) for number in range(len(task.base_models)) if len(rows)]
        most = lanes_of(task.spec)
        whole = len(lanes) - len(lanes) % most
        packs += [Pack(task.spec, tuple(lanes[low : low + most]), True) for low in range(0, whole, most)]
        rest[task.spec] += lanes[whole:]
    for spec, lanes in rest.items():
        if lanes:
            lanes.sort(key=lambda lane: [len(rows) for rows in lane.batches], reverse=True)
            count = -(-len(lanes) // lanes_of(spec))
            count = min(-(-count // workers) * workers, len(lanes))
            bounds = [len(lanes) * part // count for part in range(count + 1)]
            for low, high in pairwise(bounds):
                packs.append(Pack(spec, tuple(lanes[low:high]), len({lane.client for lane in lanes[low:high]}) == 1))
    return sorted(packs, key=lambda pack: -pack.cost)
