"""One request to each of some nodes, and their answers as they come, until a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

from splitmix.deploy.transport import Answer, Transport

POLL_S = 1.0
KEPT = 10_000
"""Answered requests that are remembered, to know a second answer by."""


@dataclass(frozen=True)
class Exchanged:
    """What came of a request.

    Attributes:
        client: number of the client that was asked.
        answer: None where the deadline passed first.
        seconds: from the request to the answer.
        late: it is the answer to a request whose deadline had passed before.
        duplicate: the request had been answered before.
    """

    client: int
    answer: Answer | None
    seconds: float
    late: bool = False
    duplicate: bool = False


class Exchange:
    """Sends requests and knows which answers are due.

    Args:
        transport: carries them.
    """

    def __init__(self, transport: Transport):
        self.transport = transport
        self.overdue: dict[str, int] = {}
        self.answered: dict[str, int] = {}

    def ask(self, requests: Mapping[int, tuple[int, bytes]], seconds: float) -> Iterator[Exchanged]:
        """Ask nodes, and yield what comes, in the order of arrival; at the end those that did not answer.

        Args:
            requests: by number of the client: its node, and the message.
            seconds: the deadline, counted from the first request.
        """
        start = monotonic()
        pending: dict[str, int] = {}
        for client, (node, content) in requests.items():
            pending[self.transport.send(node, content, seconds)] = client
        while pending and (left := start + seconds - monotonic()) > 0:
            known = {**self.answered, **self.overdue, **pending}
            for answer in self.transport.receive([*pending, *self.overdue], min(left, POLL_S)):
                took = monotonic() - start
                if answer.ticket not in known:
                    continue
                client = known[answer.ticket]
                late, duplicate = answer.ticket in self.overdue, answer.ticket in self.answered
                self.overdue.pop(answer.ticket, None)
                if pending.pop(answer.ticket, None) is not None:
                    self.answered[answer.ticket] = client
                # An overdue request that ends without an answer is no news.
                if not late or answer.content is not None:
                    yield Exchanged(client, answer, took, late, duplicate)
        self.answered = dict(list(self.answered.items())[-KEPT:])
        for ticket, client in pending.items():
            self.overdue[ticket] = client
            yield Exchanged(client, None, monotonic() - start)
