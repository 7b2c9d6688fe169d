"""A transport within one process: nodes answer in threads of their own. For tests, and to try a fleet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from splitmix.deploy.transport import Answer


class Loopback:
    """Nodes in this process.

    Args:
        nodes: what answers a request, by number of the node. One thread answers them all, one after another.
    """

    def __init__(self, nodes: Mapping[int, Callable[[bytes], bytes]]):
        self.handlers = dict(nodes)
        self.threads = ThreadPoolExecutor(1)
        self.waiting: dict[str, Future[bytes]] = {}
        self.numbers = itertools.count()

    def nodes(self) -> list[int]:
        """Numbers of the nodes."""
        return list(self.handlers)

    def send(self, node: int, content: bytes, seconds: float) -> str:
        """Hand a request to a node."""
        ticket = str(next(self.numbers))
        self.waiting[ticket] = self.threads.submit(self.handlers[node], content)
        return ticket

    def receive(self, tickets: Collection[str], seconds: float) -> list[Answer]:
        """What nodes have answered; a node that raised an exception has not."""
        futures = {ticket: self.waiting[ticket] for ticket in tickets if ticket in self.waiting}
        wait(futures.values(), timeout=seconds, return_when="FIRST_COMPLETED")
        answers = []
        for ticket, future in futures.items():
            if future.done():
                del self.waiting[ticket]
                error = future.exception()
                answers.append(Answer(ticket, None if error else future.result(), str(error or "")))
        return answers

    def close(self) -> None:
        """End the thread."""
        self.threads.shutdown(wait=False, cancel_futures=True)
