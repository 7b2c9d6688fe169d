"""Which lanes of a round are trained together: packs of lanes of equal shape, and their steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

from splitmix.algorithms.base import Work
from splitmix.models.network import NetworkSpec


@dataclass(frozen=True)
class Lane:
    """One model trained by one client in this round.

    Attributes:
        client: index of the client.
        row: row of the server's tensors that the lane starts from.
        batches: int64 rows of the training set, batch by batch; at least one.
    """

    client: int
    row: int
    batches: Sequence[Tensor]

    @property
    def samples(self) -> int:
        return sum(len(rows) for rows in self.batches)


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

    def works(self) -> Iterator[tuple[slice, Work]]:
        """Neighbouring lanes of one client, as the work they are."""
        low = 0
        for client, lanes in groupby(self.lanes, key=lambda lane: lane.client):
            rows = tuple(lane.row for lane in lanes)
            yield slice(low, low + len(rows)), Work(client, self.spec, rows)
            low += len(rows)

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
        return sum(lane.samples for lane in self.lanes) * self.spec.width**2


def plan_packs(
    works: Sequence[Work], batches: Sequence[Sequence[Tensor]], lanes_of: Callable[[NetworkSpec], int], workers: int = 1
) -> list[Pack]:
    """Pack the lanes of a round, the costliest packs first.

    A client's own lanes go together while they fill a pack, since their first layer can share its input; what is left
    is packed across clients, in packs of even size whose number `workers` divides. Work without a batch is left out.

    Args:
        works, batches: what every participant trains, and on which rows.
        lanes_of: the most lanes in a pack, by architecture.
        workers: number of processes that share the packs.
    """
    packs: list[Pack] = []
    rest: dict[NetworkSpec, list[Lane]] = defaultdict(list)
    for work, rows in zip(works, batches, strict=True):
        lanes = [Lane(work.client, row, rows) for row in work.rows if len(rows)]
        most = lanes_of(work.spec)
        whole = len(lanes) - len(lanes) % most
        packs += [Pack(work.spec, tuple(lanes[low : low + most]), True) for low in range(0, whole, most)]
        rest[work.spec] += lanes[whole:]
    for spec, lanes in rest.items():
        if lanes:
            lanes.sort(key=lambda lane: [len(rows) for rows in lane.batches], reverse=True)
            count = -(-len(lanes) // lanes_of(spec))
            count = min(-(-count // workers) * workers, len(lanes))
            bounds = [len(lanes) * part // count for part in range(count + 1)]
            for low, high in pairwise(bounds):
                packs.append(Pack(spec, tuple(lanes[low:high]), len({lane.client for lane in lanes[low:high]}) == 1))
    return sorted(packs, key=lambda pack: -pack.cost)
