"""Flower's processes on this machine: a SuperLink, SuperNodes and a run, all ended together."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from splitmix.errors import UserError

START_S = 300.0
"""How long a busy machine may take to start a process; one that ends instead is seen at once."""
PORTS = range(20_000, 32_768)
"""Below those that systems give to connections by themselves: such a connection could take a port that was free."""
END_S = 10.0


class Processes:
    """Processes of a demonstration, each in a group of its own, so that its children end with it.

    Args:
        logs: folder of what they print.
        environment: variables beside those of this process.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]):
        self.logs = logs
        # Flower's commands start one another by name, in an environment that need not have been activated.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self.environment = {**os.environ, "PATH": path, **environment}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a process, whose output goes to `<name>.log`."""
        with open(self.logs / f"{name}.log", "ab") as output:
            process = subprocess.Popen(
                list(words), stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self.environment,
                start_new_session=True,
            )  # fmt: skip
        self.running[name] = process
        return process

    def run(self, name: str, words: Sequence[str]) -> None:
        """Run a command to its end (UserError: it failed, or takes too long)."""
        process = self.start(name, words)
        try:
            code = process.wait(START_S)
        except subprocess.TimeoutExpired:
            code = None
        self.end(name)
        if code != 0:
            why = f"takes longer than {START_S:g} s" if code is None else f"failed with exit code {code}"
            raise UserError(f"{name} {why}; see {self.logs / f'{name}.log'}")

    def ended(self) -> str | None:
        """The name of a process that has ended, if any has."""
        return next((name for name, process in self.running.items() if process.poll() is not None), None)

    def end(self, name: str, hard: bool = False) -> None:
        """End a process and its children."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL if hard else signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End them all, the youngest first."""
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for name in reversed(list(self.running)):
            self.end(name)


@contextmanager
def processes(logs: Path, environment: Mapping[str, str]) -> Iterator[Processes]:
    """Processes that end when the block ends, however it does."""
    started = Processes(logs, environment)
    try:
        yield started
    finally:
        started.close()


def tool(name: str) -> str:
    """A command of Flower's, beside the Python that runs (UserError: Flower is not installed)."""
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        raise UserError(f"{name} is not installed: pip install 'splitmix[flower]' (Flower needs Python 3.11)")
    return str(path)


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    while True:
        port = secrets.choice(PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, started: Processes) -> None:
    """Wait until something listens on a port (UserError: a process ended, or nothing does in time)."""
    deadline = monotonic() + START_S
    while monotonic() < deadline:
        if name := started.ended():
            raise UserError(f"{name} ended at once; see {started.logs / f'{name}.log'}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        sleep(0.2)
    raise UserError(f"nothing listens on port {port} after {START_S:g} s; see {started.logs}")
