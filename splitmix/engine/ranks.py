"""The ranks of a run: processes on one or several machines that rank zero asks for work, over gloo."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import torch.distributed as dist

from splitmix.engine.rank_places import RankPlace, rank_place
from splitmix.engine.rank_start import STORE, end, start_here, start_local
from splitmix.engine.rank_wire import (
    ENDED,
    RANKS,
    Gone,
    broadcast,
    encoded,
    join,
    receive_from,
    send_to,
    store_of,
    waiting,
)
from splitmix.engine.worker_host import how_it_ended
from splitmix.errors import UserError

GOODBYE_S = 30.0
"""How long rank zero waits until all have heard that there is nothing to do."""
Result = TypeVar("Result")


class Ranks:
    """What rank zero knows of the ranks: it asks them for work, and they answer.

    Args:
        devices: ranks on each machine.
        num_nodes: machines.
        portable: whether they may use the instructions of every x86-64 processor only.

    Raises:
        UserError: the others do not come.
    """

    def __init__(self, devices: int, num_nodes: int, portable: bool = False):
        self.devices, self.num_nodes = devices, num_nodes
        self.count = devices * num_nodes
        self.owner = os.getpid()
        self.children: list[subprocess.Popen[bytes]] = []
        self.folder: str | None = None
        self.numbers = count()
        self.closed = False
        self.engine: Any = None
        """What the others hold the parts of."""
        place = rank_place()
        if place is not None and place.rank > 0:
            raise UserError(
                f"engine.devices={devices}: this process is rank {place.rank}, which follows rank zero; in a script of"
                " your own call splitmix.engine.follower.main() there"
            )
        if num_nodes == 1 and (place is None or not place.external):
            self.folder, self.children = start_here(devices)
            place = RankPlace("parent", 0, store=str(Path(self.folder) / STORE))
        assert place is not None
        try:
            self.store = store_of(place, leads=True)
            settings = {"devices": devices, "num_nodes": num_nodes, "portable": portable}
            self.store.set(RANKS, json.dumps(settings))
            if self.folder is None and not place.external:
                self.children = start_local(place, devices, num_nodes)
            waiting(lambda: join(self.store, 0, self.count, local=self.folder is not None), self.check)
        except BaseException:
            self.close()
            raise

    def ask(self, kind: str, common: Any, rank_tasks: Sequence[Any] | None = None) -> int:
        """Ask the others for something; returns the number of the request, for `answers`.

        Args:
            common: what all of them are told.
            rank_tasks: what each of them is told beside it, from rank one on.
        """
        number = next(self.numbers)
        request = encoded((number, kind, common))
        parts = [encoded(part) for part in rank_tasks] if rank_tasks is not None else [encoded(None)] * (self.count - 1)

        def send() -> None:
            broadcast(request)
            for rank, part in enumerate(parts, 1):
                send_to(rank, part)

        self.waiting(send)
        return number

    def answers(self, number: int) -> Iterator[Any]:
        """The others' answers to a request, in the order of the ranks; what was left of earlier ones is dropped.

        Raises:
            UserError: one of them met a mistake, or has died.
            RuntimeError: a bug there, with its traceback.
        """
        for rank in range(1, self.count):
            while True:
                answered, kind, value = self.waiting(lambda rank=rank: receive_from(rank))  # type: ignore[misc]
                if answered == number:
                    break
            if kind == "mistake":
                raise UserError(f"rank {rank}: {value}")
            if kind == "bug":
                raise RuntimeError(f"on rank {rank}:\n{value}")
            yield value

    def waiting(self, function: Callable[[], Result]) -> Result:
        try:
            return waiting(function, self.check)
        except Gone:
            sleep(0.2)  # until the system knows how a child ended
            self.check()
            self.abandon()
            raise UserError(lost("a rank died")) from None

    def check(self) -> None:
        """Raise UserError if a rank that this process has started has ended."""
        for rank, child in enumerate(self.children, 1):
            if (code := child.poll()) is not None:
                self.abandon()
                raise UserError(lost(f"rank {rank} died ({how_it_ended(code)})"))

    def abandon(self) -> None:
        """Give the others up: there is nobody to say goodbye to."""
        self.closed = True
        self.end_children()

    def close(self) -> None:
        """Let the others end, and wait for those on this machine; they are started again when needed."""
        if os.getpid() != self.owner:
            return  # a forked copy
        if not self.closed and dist.is_initialized():
            with suppress(Exception, KeyboardInterrupt):
                waiting(lambda: broadcast(encoded((-1, "end", None))), give_up_s=5.0)
            for child in self.children:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(5)
        self.abandon()

    def end_children(self) -> None:
        end(self.children, self.folder)
        self.children = []
        if dist.is_initialized():
            with suppress(Exception):
                dist.destroy_process_group()


_ranks: list[Ranks] = []


def ranks_of(devices: int, num_nodes: int, portable: bool) -> Ranks:
    """The ranks of this process, started if need be; those of another number end.

    Raises:
        UserError: the others do not come, or are gone for good.
    """
    if _ranks and not _ranks[0].closed and (_ranks[0].devices, _ranks[0].num_nodes) == (devices, num_nodes):
        return _ranks[0]
    if _ranks and _ranks[0].folder is None:
        raise UserError("the other ranks of this job are gone: start the job again")
    close_ranks()
    _ranks.append(Ranks(devices, num_nodes, portable))
    return _ranks[0]


@atexit.register
def close_ranks() -> None:
    """Let the other ranks end, if there are any."""
    while _ranks:
        _ranks.pop().close()


def dismiss() -> None:
    """Tell the ranks that a launcher has started that there is nothing to do for them; they end well."""
    place = rank_place()
    if place is None or not place.external or place.ranks is None or _ranks:
        return
    with suppress(UserError, RuntimeError):
        store = store_of(place, leads=True)
        store.set(RANKS, ENDED)
        deadline = monotonic() + GOODBYE_S
        while store.add(ENDED, 0) < place.ranks - 1 and monotonic() < deadline:
            sleep(0.1)


def lost(what: str) -> str:
    """A message about a rank that is gone."""
    return f"{what}; the last good checkpoint stays, and resume= goes on from it with any number of ranks"
