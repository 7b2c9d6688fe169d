"""The only module that touches Flower: a ServerApp and a ClientApp around the server and the nodes of `deploy`.

Flower starts a process for every message to a node, so that each app imports only its own half.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from splitmix.deploy.transport import Answer
from splitmix.errors import UserError

if TYPE_CHECKING:
    from splitmix.deploy.node import Node

RECORD, FIELD = "splitmix", "message"
NODE_KEY = "splitmix"
"""The key of a SuperNode's config that names its YAML."""
NUMBER_KEY = "partition-id"
"""The key of a simulated node's config that numbers it."""
KEPT = 16
"""Nodes that a process keeps: a SuperNode's has one, a simulation's takes turns with all of them."""
POLL_S = 0.2
PULLED_TOGETHER = 1
"""Answers fetched in one call: a node's endless one must not hold up the others'."""

log = logging.getLogger("splitmix")


class GridTransport:
    """Flower's grid as a `Transport`: each request is a message, its ticket the message's id.

    Args:
        grid: given to the ServerApp.
    """

    def __init__(self, grid: Grid):
        self.grid = grid

    def nodes(self) -> list[int]:
        """Numbers of the nodes that Flower sees."""
        return sorted(self.grid.get_node_ids())

    def send(self, node: int, content: bytes, seconds: float) -> str:
        """Send a message of its own to a node; its answer is of use until `seconds` have passed."""
        message = Message(recorded(content), node, MessageType.QUERY, ttl=seconds)
        [ticket] = self.grid.push_messages([message])
        return ticket

    def receive(self, tickets: Collection[str], seconds: float) -> list[Answer]:
        """Ask for answers now and again; a node that Flower lost answers with its error."""
        deadline = monotonic() + seconds
        while True:
            answers = [answer(message) for message in self.grid.pull_messages(list(tickets))]
            if answers or monotonic() > deadline:
                return answers
            sleep(min(POLL_S, seconds))


def recorded(content: bytes) -> RecordDict:
    """Bytes as the records of a message."""
    return RecordDict({RECORD: ConfigRecord({FIELD: content})})


def content_of(message: Message) -> bytes | None:
    """The bytes in a message's records; None if there are none."""
    record = message.content.get(RECORD)
    content = record.get(FIELD) if isinstance(record, ConfigRecord) else None
    return content if isinstance(content, bytes) else None


def answer(message: Message) -> Answer:
    """A reply as an `Answer`."""
    ticket = message.metadata.reply_to_message_id
    if message.has_error():
        return Answer(ticket, None, f"Flower: {message.error.reason or message.error.code}"[:300])
    return Answer(ticket, content_of(message), "" if content_of(message) is not None else "no message of splitmix")


server_app = ServerApp()
client_app = ClientApp()


@lru_cache(maxsize=KEPT)
def node_at(path: Path) -> Node:
    """The node with these settings, which keeps its images loaded in this process."""
    from splitmix.deploy.node import Node
    from splitmix.deploy.node_settings import read_node

    return Node(read_node(path))


def node_path(context: Context) -> Path:
    """The YAML of the node that is asked: a SuperNode's config names it, Flower's simulation only numbers its nodes."""
    if NODE_KEY in context.node_config:
        return Path(str(context.node_config[NODE_KEY]))
    from splitmix.deploy.node_settings import simulated_nodes

    return simulated_nodes(Path(str(context.run_config["folder"])))[int(context.node_config[NUMBER_KEY])]


def import_client_process() -> None:
    """Import what Flower's own process for a message imports, beside the app: `splitmix probe` times it."""
    with suppress(ImportError):  # no public name: another version may have it elsewhere
        import flwr.supernode.cli  # noqa: F401


@server_app.main()
def server_main(grid: Grid, context: Context) -> None:
    """Train the run of the folder that the app's config names."""
    from splitmix.deploy.serve import serve

    folder = Path(str(context.run_config["folder"]))
    try:
        serve(folder, GridTransport(grid))
    except UserError as error:
        log.error(f"splitmix: {error}")
        sys.exit(2)


@client_app.query()
def client_main(message: Message, context: Context) -> Message:
    """Answer a request by the node that is asked."""
    content = node_at(node_path(context)).answer(content_of(message) or b"")
    return Message(recorded(content), reply_to=message)
