"""Starts worker processes by way of a fresh interpreter, the host, which knows nothing of what this process has done.

Forking this process instead would break where PyTorch has trained on a device, in notebooks, and among threads. The
host is clear of all that: it imports the framework once and forks itself for every worker. It never runs `__main__`.
This file imports no PyTorch, so that a command can start the host before it does so itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle

from splitmix.errors import UserError

BOOT = "import sys; sys.path[:] = {path!r}; from splitmix.engine.worker_process import host; host({fd}, {forks})"


GRACE_S = 0.3
"""What the host gets to see its workers off."""


def can_have_workers() -> bool:
    """Whether this system can start processes and pass them open files, and where the interpreter is, is known."""
    return os.name == "posix" and bool(sys.executable)


class WorkerHost:
    """The host process.

    Args:
        forks: workers are its forks; otherwise (macOS, whose libraries do not survive it) fresh interpreters too.
    """

    def __init__(self, forks: bool = sys.platform != "darwin"):
        ours, theirs = socket.socketpair()
        with theirs:
            path = [place for place in sys.path if isinstance(place, str)]
            boot = BOOT.format(path=path, fd=theirs.fileno(), forks=forks)
            self.process = subprocess.Popen(
                [sys.executable, "-c", boot],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is this process's to handle
            )
        self.control = Connection(ours.detach())
        self.owner = os.getpid()
        self.lock = threading.Lock()
        self.close = weakref.finalize(self, _end, self.owner, self.process, self.control)

    def start(self) -> tuple[Connection, int]:
        """A new worker: the connection to it, and its process id. Waits until the host is ready."""
        ours, theirs = socket.socketpair()
        connection = Connection(ours.detach())
        with self.lock, theirs:
            try:
                self.control.send(("start", 0))
                send_handle(self.control, theirs.fileno(), self.process.pid)
                return connection, self.control.recv()
            except (EOFError, OSError):
                self.close()
                raise UserError(f"workers cannot be started ({self.end}); use engine.workers=1") from None
            except BaseException:
                self.close()  # its answer would be taken for the next one
                raise

    def end_of(self, pid: int) -> str:
        """How a worker ended."""
        with self.lock:
            try:
                self.control.send(("end", pid))
                return how_it_ended(os.waitstatus_to_exitcode(self.control.recv()))
            except (EOFError, OSError):
                return f"with its host, {self.end}"

    @property
    def end(self) -> str:
        return how_it_ended(self.process.wait())

    @property
    def usable(self) -> bool:
        """Whether it runs, as a child of this very process and not of one that this was forked from."""
        return self.owner == os.getpid() and self.close.alive and self.process.poll() is None


def how_it_ended(code: int) -> str:
    """An exit code in words, negative ones being signals."""
    return f"killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


def _end(owner: int, process: subprocess.Popen[bytes], control: Connection) -> None:
    control.close()
    if os.getpid() != owner:
        return  # a forked copy of the parent
    # The host goes when its workers have gone, which they do as the connections to them close; or it is importing.
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    process.kill()
    process.wait()


_host: list[WorkerHost] = []


def worker_host() -> WorkerHost:
    """The host of this process, started if need be."""
    if not _host or not _host[0].usable:
        _host[:] = [WorkerHost()]
    return _host[0]
