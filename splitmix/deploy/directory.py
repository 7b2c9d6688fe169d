"""Which node is which client, and what the clients tell of their images: nodes come, go and come back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

from splitmix.deploy.exchange import Exchange
from splitmix.deploy.messages import HELLO, BadMessage, unpacked
from splitmix.deploy.problem import ImageFacts
from splitmix.errors import UserError
from splitmix.files import write_atomically
from splitmix.fleet import Fleet, FleetClient
from splitmix.reading import read_json

log = logging.getLogger("splitmix")

FILE = "clients.json"
MOST_HELLO = 1 << 20
PAUSE_S = 0.5
HELLO_S = 120.0
HELLOS = 3
"""How often a node that does not say who it is is asked."""


class Directory:
    """The clients of a fleet and the nodes that they are on now.

    Args:
        clients: those that the fleet expects, in their order.
        fleet: how long to wait for them.
        exchange: reaches the nodes.
        hello: makes the request that asks a node who it is.
        path: where what the clients tell is kept, for a run that is resumed while some are away.
    """

    def __init__(
        self,
        clients: Sequence[FleetClient],
        fleet: Fleet,
        exchange: Exchange,
        hello: Callable[[], bytes],
        path: Path,
    ):
        self.clients, self.fleet, self.exchange, self.hello, self.path = clients, fleet, exchange, hello, path
        self.numbers = {client.id: number for number, client in enumerate(clients)}
        self.node_of: dict[int, int] = {}
        self.asked: dict[int, int] = {}
        self.facts: dict[int, ImageFacts] = {}
        if path.is_file():
            stored = read_json(path)
            self.facts = {self.numbers[name]: ImageFacts.from_dict(data) for name, data in stored.items()}

    def refresh(self) -> None:
        """Look which nodes are connected, and ask the new ones who they are."""
        connected = set(self.exchange.transport.nodes())
        self.node_of = {client: node for client, node in self.node_of.items() if node in connected}
        known = set(self.node_of.values())
        new = [node for node in sorted(connected - known) if self.asked.get(node, 0) < HELLOS]
        if not new:
            return
        content = self.hello()
        for node in new:
            self.asked[node] = self.asked.get(node, 0) + 1
        # Below zero, where no client's number is: an answer to one of these is known as such also when it is late.
        requests = {-1 - node: (node, content) for node in new}
        for item in self.exchange.ask(requests, min(self.fleet.round_seconds, HELLO_S)):
            if item.client < 0 and not item.duplicate:
                self.meet(-1 - item.client, item.answer.content if item.answer else None)

    def meet(self, node: int, content: bytes | None) -> None:
        """Take note of what a node says that it is."""
        if content is None or node in self.node_of.values():
            return
        try:
            answer = unpacked(content, HELLO, MOST_HELLO)
            name = str(answer.get("client"))[:80]
            if "error" in answer:
                raise BadMessage(str(answer["error"])[:500])
            if name not in self.numbers:
                raise BadMessage(f"no client of this fleet: {name}")
            facts = ImageFacts.from_dict(answer["images"])
        except (BadMessage, KeyError, TypeError, ValueError) as error:
            log.warning(f"node {node}: {error}")
            return
        number = self.numbers[name]
        if number in self.node_of:
            log.warning(f"node {node} says that it is client {name}, which another node is: left out")
            self.asked[node] = HELLOS
            return
        if self.facts.get(number, facts) != facts:
            log.warning(f"client {name} came back with other images: left out")
            self.asked[node] = HELLOS
            return
        others = next((other for other in self.facts.values()), facts)
        if (others.classes, others.input_shape) != (facts.classes, facts.input_shape):
            log.warning(f"client {name} has other classes, or images of another shape, than the first client: left out")
            self.asked[node] = HELLOS
            return
        self.node_of[number], self.facts[number], self.asked[node] = node, facts, 0
        log.info(f"client {name} is connected: {facts.n_train} training images")

    def wait_for_all(self) -> None:
        """Wait until every client has told of its images once, and keep what they told.

        Raises:
            UserError: some did not in time; they are named.
        """
        deadline = monotonic() + self.fleet.wait_seconds
        while True:
            self.refresh()
            lacking = [client.id for number, client in enumerate(self.clients) if number not in self.facts]
            if not lacking:
                break
            if monotonic() > deadline:
                raise UserError(
                    f"fleet.wait_seconds={self.fleet.wait_seconds:g}: no word from {', '.join(lacking)}; start their"
                    " nodes, or take them out of the fleet"
                )
            sleep(PAUSE_S)
        stored = {client.id: self.facts[number].to_dict() for number, client in enumerate(self.clients)}
        write_atomically(self.path, lambda file: file.write(json.dumps(stored, indent=1).encode()))

    def wait_for(self, clients: Sequence[int], enough: int) -> None:
        """Wait until `enough` of these clients are connected, or time is up."""
        deadline = monotonic() + self.fleet.wait_seconds
        self.refresh()
        while sum(client in self.node_of for client in clients) < enough and monotonic() < deadline:
            sleep(PAUSE_S)
            self.refresh()
