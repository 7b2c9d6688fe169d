"""How a server reaches its clients: any way of carrying bytes to nodes and their answers back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """What came back for a request.

    Attributes:
        ticket: of the request.
        content: the bytes that the node answered; None where none came.
        error: why none came, in words; empty where some did.
    """

    ticket: str
    content: bytes | None
    error: str = ""


class Transport(Protocol):
    """Carries requests to nodes. No call may wait longer than it is told to."""

    def nodes(self) -> list[int]:
        """Numbers of the nodes that are connected now. A node that comes back may have another number."""
        ...

    def send(self, node: int, content: bytes, seconds: float) -> str:
        """Send a request to a node.

        Args:
            seconds: how long an answer is of use.

        Returns:
            A ticket, by which its answer is known.
        """
        ...

    def receive(self, tickets: Collection[str], seconds: float) -> list[Answer]:
        """Answers that have come for these tickets, each once; waits up to `seconds` for the first one."""
        ...
