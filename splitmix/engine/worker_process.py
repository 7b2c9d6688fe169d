"""What runs in the processes that worker_host.py starts: the host, which starts workers, and the workers."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import select
import signal
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

from splitmix.errors import UserError

WORKER = "import sys; sys.path[:] = {path!r}; from splitmix.engine.worker_process import worker; worker({fd})"

REAP_S = 1.0
"""How often the host looks for workers that have ended."""


def host(control_descriptor: int, forks: bool) -> None:
    """Start workers as the parent asks for them, until it is gone, and tell how they ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if forks:
        import splitmix.engine.lane_tasks  # noqa: F401

        gc.freeze()  # so that the workers' collections do not copy what they share
    control = Connection(control_descriptor)
    ended: dict[int, int] = {}
    with suppress(EOFError, OSError):
        while True:
            while not control.poll(REAP_S):
                reap(ended)
            request, argument = control.recv()
            if request == "start":
                descriptor = recv_handle(control)
                pid = forked(descriptor, control) if forks else spawned(descriptor)
                os.close(descriptor)
                ended.pop(pid, None)  # of an earlier worker, whose id the system has given again
                control.send(pid)
            else:
                control.send(ended[argument] if argument in ended else os.waitpid(argument, 0)[1])
    with suppress(ChildProcessError):
        while True:
            os.wait()


def reap(ended: dict[int, int]) -> None:
    """Let the system forget the workers that have ended; what it knows of their ends is kept by process id."""
    with suppress(ChildProcessError):
        while (end := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            ended[end[0]] = end[1]


def forked(descriptor: int, control: Connection) -> int:
    """A worker as a fork of this process; returns its process id."""
    with warnings.catch_warnings():
        # Python 3.12 warns of threads (NumPy's idle ones), which the worker will not have, and does not need.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            control.close()
            worker(descriptor)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def spawned(descriptor: int) -> int:
    """A worker as a fresh interpreter; returns its process id."""
    os.set_inheritable(descriptor, True)
    boot = WORKER.format(path=sys.path, fd=descriptor)
    return os.posix_spawn(sys.executable, [sys.executable, "-c", boot], os.environ)


def worker(descriptor: int) -> None:
    """Do tasks until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()
    connection = Connection(descriptor)
    runner = TaskRunner(connection)
    with suppress(EOFError, OSError):
        while True:
            answer = runner.answer(*pickle.loads(connection.recv_bytes()))
            sys.stdout.flush()
            connection.send_bytes(answer)


class TaskRunner:
    """Does what the parent's messages say.

    Attributes:
        memory: what the parent shares, by number.
        handler, slots: what was loaded last.
    """

    def __init__(self, connection: Connection):
        self.connection = connection
        self.memory: dict[int, Any] = {}
        self.handler: Any = None
        self.slots: Any = None

    def answer(self, kind: str, key: Any, data: bytes, regions: list[tuple[int, bool]], *surroundings: Any) -> bytes:
        """Load a handler or do a task; mistakes and bugs are answers too.

        Args:
            kind: `load` or `do`.
            key: batch, number in it and slot; for `load` the second is the number of this worker.
            data: pickle of the handler and all workers' slots, or of the task.
            regions: number of each region, and whether it is private; their descriptors follow the message.
            surroundings: the parent's `sys.path`, working folder and environment, beside a handler.
        """
        from splitmix.engine.shared_memory import mapped, pickled, unpickled

        _, number, slot = key
        opened = {region: (recv_handle(self.connection), private) for region, private in regions}
        try:
            if kind == "load":
                self.handler = self.slots = None
                self.memory = {region: mapped(*file) for region, file in opened.items()}
                take_over(*surroundings)
                self.handler, slots = unpickled(data, self.memory)
                self.slots = slots[number]
                return pickle.dumps(("done", key, None))
            result = self.handler(unpickled(data, self.memory), self.slots[slot])
            return pickled(("done", key, result)).data
        except UserError as error:
            return pickle.dumps(("mistake", key, str(error)))
        except Exception:
            return pickle.dumps(("bug", key, traceback.format_exc()))
        finally:
            for descriptor, _ in opened.values():
                os.close(descriptor)


def take_over(path: list[str], folder: str, environment: dict[str, str]) -> None:
    """Make the parent's surroundings this process's."""
    sys.path[:] = path
    with suppress(OSError):
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


def _end_with_parent(descriptor: int) -> None:
    """End the process, whatever it does, as soon as the other end of its connection is closed."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    while not any(event & select.POLLHUP for _, event in poll.poll()):
        continue
    os._exit(0)  # as where the main thread notices first


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
