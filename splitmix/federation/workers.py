"""Worker processes with one thread each: forked, so they see this process's memory; they answer in shared memory."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from multiprocessing.connection import wait
from typing import Any

import torch
from torch import Tensor

from splitmix.errors import UserError
from splitmix.models.network import Tensors

Handler = Callable[[Any, Tensor], Any]
"""Does a task in a worker: large results go into the given shared bytes, small ones are returned."""

SLOTS = 3
"""Results of a worker that may wait for the parent."""

ALIGNMENT = 64


def can_fork() -> bool:
    """Whether this system can fork processes that share memory (macOS can, but its libraries do not survive it)."""
    return os.uname().sysname == "Linux" if hasattr(os, "uname") else False


class WorkerPool:
    """Processes that do tasks, the results coming back in the order of the tasks.

    They ignore Ctrl-C, which is the parent's to handle, and end with the parent however it ends.

    Args:
        workers: number of processes.
        handler: does a task; it and all that it refers to are as they are now.
        slot_bytes: room for the large part of one result.
    """

    def __init__(self, workers: int, handler: Handler, slot_bytes: int):
        self.slot_bytes = slot_bytes
        self.slots = [[shared_bytes(slot_bytes) for _ in range(SLOTS)] for _ in range(workers)]
        context = multiprocessing.get_context("fork")
        self.processes: list[Any] = []
        self.connections: list[Any] = []
        for slots in self.slots:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, handler, slots), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 warns of threads (a progress bar's) that the child will not have, and does not need.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self.processes.append(process)
            self.connections.append(ours)
        self.close = weakref.finalize(self, _stop, os.getpid(), self.processes, self.connections)

    def map(self, tasks: Sequence[Any]) -> Iterator[tuple[Any, Tensor]]:
        """Do all tasks; yields each one's small result and its slot, which is its own until the next is asked for.

        Raises:
            UserError: a task raised one, or a worker died.
            RuntimeError: a bug in a task, with its traceback.
        """
        free = [list(range(SLOTS)) for _ in self.processes]
        done: dict[int, tuple[int, int, Any]] = {}
        sent = 0
        try:
            for index in range(len(tasks)):
                while index not in done:
                    while sent < len(tasks) and any(free):
                        worker = max(range(len(free)), key=lambda number: len(free[number]))
                        slot = free[worker].pop()
                        self.send(worker, (sent, slot, tasks[sent]))
                        sent += 1
                    for worker, (number, slot, result) in self.answers():
                        done[number] = worker, slot, result
                worker, slot, result = done.pop(index)
                yield result, self.slots[worker][slot]
                free[worker].append(slot)
        except BaseException:
            # Answers still under way would be taken for those of the next tasks.
            self.close()
            raise

    def send(self, worker: int, message: Any) -> None:
        try:
            self.connections[worker].send_bytes(pickle.dumps(message))
        except OSError:
            self.refuse_dead()
            raise

    def answers(self) -> Iterator[tuple[int, tuple[int, int, Any]]]:
        """Wait for at least one worker, then give what has come."""
        wait([*self.connections, *(process.sentinel for process in self.processes)])
        for worker, connection in enumerate(self.connections):
            if connection.poll():
                try:
                    kind, *answer = pickle.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    self.refuse_dead()
                    raise
                if kind == "mistake":
                    raise UserError(answer[0])
                if kind == "bug":
                    raise RuntimeError(f"in a worker process:\n{answer[0]}")
                yield worker, (answer[0], answer[1], answer[2])
        self.refuse_dead()

    def refuse_dead(self) -> None:
        """Raise UserError if a worker has died."""
        for process in self.processes:
            process.join(0)
            if process.exitcode is not None:
                code = process.exitcode
                how = f"killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
                raise UserError(
                    f"a worker process died ({how}); if memory ran out, lower engine.workers or engine.lanes;"
                    " the last good checkpoint stays"
                )


def _stop(owner: int, processes: list[Any], connections: list[Any]) -> None:
    if os.getpid() != owner:
        return  # a forked copy of the pool, in the worker of another one
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    for connection in connections:
        connection.close()


def _serve(connection: Any, handler: Handler, slots: list[Tensor]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    keep_freed_memory()
    while True:
        try:
            number, slot, task = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        answer: tuple[Any, ...]
        try:
            answer = ("done", number, slot, handler(task, slots[slot]))
        except UserError as error:
            answer = ("mistake", str(error))
        except Exception:
            answer = ("bug", traceback.format_exc())
        connection.send_bytes(pickle.dumps(answer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def keep_freed_memory() -> None:
    """Tell the allocator to keep freed memory up to 1 GiB a piece, instead of giving it back after every operation.

    Getting fresh pages from the system for every activation takes a third of a training step on a CPU. Where the
    C library is not GNU's, nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None).mallopt
        allocator(mmap_threshold, 1 << 30)
        allocator(trim_threshold, (1 << 31) - 1)


def shared_bytes(size: int) -> Tensor:
    """uint8 `[size]` that forked processes share. Anonymous: no file, and no limit but memory."""
    return torch.frombuffer(mmap.mmap(-1, max(size, 1)), dtype=torch.uint8)


def bytes_needed(like: Mapping[str, Tensor]) -> int:
    """Room that `views` of such tensors takes."""
    return sum(_padded(value) for value in like.values())


def views(memory: Tensor, like: Mapping[str, Tensor]) -> Tensors:
    """Tensors of these names, shapes and types, laid out in `memory`, uint8 `[bytes_needed(like)]` or more."""
    ends = accumulate(_padded(value) for value in like.values())
    return {
        name: memory[end - _padded(value) :][: value.nbytes].view(value.dtype).view(value.shape)
        for (name, value), end in zip(like.items(), ends, strict=True)
    }


def _padded(value: Tensor) -> int:
    return -(-value.nbytes // ALIGNMENT) * ALIGNMENT
