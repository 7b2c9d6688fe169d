"""Worker processes with one thread each: fresh interpreters, sent what they need once, that answer in shared memory."""

from __future__ import annotations

import os
import pickle
import sys
import weakref
from collections.abc import Callable, Collection, Generator, Sequence
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from typing import Any

from torch import Tensor

from splitmix.engine.shared_memory import Pickled, Region, known_regions, padded, pickled, shared_bytes
from splitmix.engine.worker_host import WorkerHost, worker_host
from splitmix.errors import UserError

Handler = Callable[[Any, Tensor], Any]
"""Does a task in a worker: large results go into the given shared bytes, small ones are returned."""

SLOTS = 3
"""Results of a worker that may wait for the parent."""


class WorkerPool:
    """Processes that do tasks, the results coming back in the order of the tasks.

    They ignore Ctrl-C, which is the parent's to handle, and end with the parent however it ends.

    Args:
        workers: number of processes.
        host: where they are started; None is this process's own.

    Attributes:
        pids: their process ids.
        slot_bytes: room for the large part of one result, as loaded last.
        closed: whether the workers are gone: their tasks were interrupted, or one of them died.
    """

    def __init__(self, workers: int, host: WorkerHost | None = None):
        self.host = host or worker_host()
        started = [self.host.start() for _ in range(workers)]
        self.connections = [connection for connection, _ in started]
        self.pids = [pid for _, pid in started]
        self.free = [list(range(SLOTS)) for _ in started]
        self.batches = count()
        self.slot_bytes = 0
        self.slots: list[list[Tensor]] = []
        self.regions: Collection[Region] = ()
        self.close = weakref.finalize(self, _close, self.connections)

    @property
    def loaded(self) -> bool:
        """Whether the workers have a handler."""
        return bool(self.slots)

    @property
    def closed(self) -> bool:
        return not self.close.alive

    def load(self, handler: Handler, slot_bytes: int) -> None:
        """Send a handler to all workers, in place of the one before.

        It is sent as it is now; its tensors in shared memory, or in an unchanged mapped file, are not copied.

        Raises:
            UserError: a worker died, or the handler cannot be sent.
            RuntimeError: a worker cannot make sense of the handler, with its traceback.
        """
        room = padded(slot_bytes)
        memory = shared_bytes(room * SLOTS * len(self.pids))
        places = [memory[room * number :][:slot_bytes] for number in range(SLOTS * len(self.pids))]
        self.slots = [places[SLOTS * worker :][:SLOTS] for worker in range(len(self.pids))]
        self.slot_bytes = slot_bytes
        batch, loaded = next(self.batches), 0
        surroundings = list(sys.path), os.getcwd(), dict(os.environ)
        with known_regions() as regions:
            try:
                message = pickled((handler, self.slots), regions)
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                raise UserError(
                    f"engine.workers={len(self.pids)}: the run's components cannot be sent to worker processes"
                    f" ({error}); use engine.workers=1"
                ) from error
            self.regions = [region for region in message.used if not region.private]
            for worker in range(len(self.pids)):
                self.send(worker, ("load", (batch, worker, None), message, surroundings))
        while loaded < len(self.pids):
            loaded += len(self.answers(batch))

    def map(self, tasks: Sequence[Any]) -> Generator[tuple[Any, Tensor]]:
        """Do all tasks; yields each one's small result and its slot, which is its own until the next is asked for.

        Close an iterator that is not exhausted. What its workers still do is dropped when it comes.

        Raises:
            UserError: a task raised one, or a worker died.
            RuntimeError: a bug in a task, with its traceback.
        """
        batch = next(self.batches)
        done: dict[int, tuple[int, int, Any]] = {}
        sent = 0
        try:
            for index in range(len(tasks)):
                while index not in done:
                    while sent < len(tasks) and any(self.free):
                        task = pickled(tasks[sent], self.regions)
                        worker = max(range(len(self.free)), key=lambda number: len(self.free[number]))
                        slot = self.free[worker].pop()
                        self.send(worker, ("do", (batch, sent, slot), task, ()))
                        sent += 1
                    for worker, number, slot, result in self.answers(batch):
                        done[number] = worker, slot, result
                worker, slot, result = done[index]
                yield result, self.slots[worker][slot]
                del done[index]
                self.free[worker].append(slot)
        finally:
            for worker, slot, _ in done.values():
                self.free[worker].append(slot)

    def send(self, worker: int, message: tuple[str, tuple[int, int, int | None], Pickled, tuple[Any, ...]]) -> None:
        """Send a message, and with one that loads the descriptors of the memory that it refers to."""
        kind, key, content, surroundings = message
        regions = content.used if kind == "load" else ()
        numbers = [(region.number, region.private) for region in regions]
        connection = self.connections[worker]
        try:
            connection.send_bytes(pickle.dumps((kind, key, content.data, numbers, *surroundings)))
            for region in regions:
                send_handle(connection, region.descriptor, self.pids[worker])
        except OSError:
            raise self.died(worker) from None
        except BaseException:
            self.close()  # half a message may be under way
            raise

    def answers(self, batch: int) -> list[tuple[int, int, int, Any]]:
        """Wait for at least one worker; worker, number, slot and result of what has come for this batch."""
        come: list[tuple[int, Any]] = []
        worker = 0
        try:
            ready = wait(self.connections)
            for worker, connection in enumerate(self.connections):
                if connection in ready:
                    come.append((worker, pickle.loads(connection.recv_bytes())))
        except (EOFError, OSError):
            raise self.died(worker) from None
        except BaseException:
            self.close()
            raise
        failed = next((answer for _, answer in come if answer[0] != "done" and answer[1][0] == batch), None)
        results = []
        for worker, (_, (its_batch, number, slot), result) in come:
            if its_batch == batch and failed is None:
                results.append((worker, number, slot, result))
            elif slot is not None:
                self.free[worker].append(slot)
        if failed is not None:
            raise UserError(failed[2]) if failed[0] == "mistake" else RuntimeError(f"in a worker process:\n{failed[2]}")
        return results

    def died(self, worker: int) -> UserError:
        """End the other workers too; what to raise."""
        how = self.host.end_of(self.pids[worker])
        self.close()
        return UserError(
            f"a worker process died ({how}); if memory ran out, lower engine.workers or engine.lanes;"
            " the last good checkpoint stays"
        )


def _close(connections: list[Connection]) -> None:
    # A worker ends, whatever it does, when its connection closes.
    for connection in connections:
        connection.close()
