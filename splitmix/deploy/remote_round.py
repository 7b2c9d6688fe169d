"""A round with clients on other machines: requests, updates checked, and merged in the order of a simulation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from splitmix.algorithms.values import ServerState, Update
from splitmix.deploy.checks import checked_update, expected_update, seconds_told
from splitmix.deploy.exchange import Exchanged
from splitmix.deploy.journal import (
    ABSENT,
    ACCEPTED,
    DUPLICATE,
    EMPTY,
    FAILED,
    LATE,
    MISSING,
    QUARANTINED,
    REFUSED,
    Entry,
)
from splitmix.deploy.messages import TRAIN, BadMessage, most_bytes, packed, unpacked
from splitmix.engine.packing import plan_packs
from splitmix.errors import UserError
from splitmix.federation.finite import refuse_not_finite
from splitmix.federation.round_metrics import RoundMeasurements, RoundMetrics
from splitmix.federation.sampling import DrawnBatches
from splitmix.payload import payload_bytes

if TYPE_CHECKING:
    from splitmix.deploy.remote import RemoteFederation

log = logging.getLogger("splitmix")


class RemoteRound:
    """One attempt at a round.

    Args:
        federation: the fleet.
        state: the server before the round.
        chosen: numbers of the participants, ascending.
    """

    def __init__(self, federation: RemoteFederation, state: ServerState, chosen: Sequence[int]):
        self.federation, self.state, self.chosen = federation, state, chosen
        self.method, self.fleet = federation.method, federation.fleet
        scalars = federation.config.scalars
        self.lr: float = federation.optimizer.lr * federation.config.schedule.factor(state.round, scalars.rounds)
        self.tasks = self.method.plan(state, chosen, federation.seed)
        self.entries: dict[int, Entry] = {}
        self.expected: dict[int, Update] = {}
        self.requests: dict[int, tuple[int, bytes]] = {}
        self.measured = RoundMeasurements()
        self.aggregate = self.method.no_updates(state)

    def run(self) -> tuple[ServerState, RoundMetrics] | None:
        """The next state; None where there were fewer good updates than the fleet needs."""
        start = perf_counter()
        self.prepare()
        asked = perf_counter()
        merge_s = self.collect()
        collected = perf_counter()
        accepted = [client for client, entry in self.entries.items() if entry.outcome == ACCEPTED]
        enough = len(accepted) >= self.fleet.min_clients
        if not enough:
            # The round is repeated from the same model and the same memory of clients.
            entries = self.entries.values()
            self.federation.journal.add(unused(entry) if entry.outcome == ACCEPTED else entry for entry in entries)
            return None
        after = self.method.finalise(self.state, self.aggregate)
        refuse_not_finite(after, self.federation.optimizer)
        self.federation.journal.add(self.entries[client] for client in sorted(self.entries))
        merged = perf_counter()
        budgets = self.federation.budgets
        down = [self.method.download_entries(budgets[client]) for client in self.requests]
        up = [self.method.upload_entries(budgets[client]) for client in accepted]
        return after, RoundMetrics(
            round=self.state.round,
            lr=self.lr,
            loss=self.measured.mean("loss"),
            accuracy=self.measured.mean("accuracy"),
            bytes_down=payload_bytes(sum(down)),
            bytes_up=payload_bytes(sum(up)),
            seconds={
                "data": asked - start,
                "train": collected - asked - merge_s,
                "merge": merge_s + merged - collected,
            },
        )

    def prepare(self) -> None:
        """Make the requests to the participants that are there."""
        federation, directory = self.federation, self.federation.directory
        banned = federation.journal.quarantined(self.fleet.quarantine_after)
        for planned in self.tasks:
            client, data = planned.client, federation.clients[planned.client]
            if data.id in banned or client not in directory.node_of:
                self.note(client, QUARANTINED if data.id in banned else ABSENT)
                continue
            task = self.method.download(self.state, planned)
            self.expected[client] = expected_update(self.method, self.state, task, float(len(data.train)), self.lr)
            content = {"task": task.to_dict(), "lr": self.lr, "fixed_steps": federation.fixed_steps}
            message = packed(TRAIN, {**federation.request(client, self.state.round), **content})
            self.requests[client] = directory.node_of[client], message

    def collect(self) -> float:
        """Take the updates in as they come, and merge them in order; returns the seconds spent on merging."""
        waiting: dict[int, Update | None] = {}
        order = [client for client in self.simulated_order() if client in self.requests]
        merge_s = 0.0
        for item in self.federation.exchange.ask(self.requests, self.fleet.round_seconds):
            if item.client < 0:
                self.federation.directory.meet(-1 - item.client, item.answer.content if item.answer else None)
                continue
            if item.late or item.duplicate:
                what = LATE if item.late else DUPLICATE
                size = len(item.answer.content or b"") if item.answer else 0
                name = self.federation.clients[item.client].id
                self.federation.journal.add([Entry(self.state.round, name, what, bytes_up=size)])
                continue
            waiting[item.client] = self.update_of(item)
            start = perf_counter()
            while order and order[0] in waiting:
                update = waiting.pop(order.pop(0))
                if update is not None:
                    self.measured.by_client[update.task.client].append(update.measurements)
                    self.aggregate = self.method.accumulate(self.aggregate, update)
            merge_s += perf_counter() - start
        return merge_s

    def update_of(self, item: Exchanged) -> Update | None:
        """The update that a client answered, if it is good; what became of it is noted.

        Raises:
            UserError: a bad one where `on_bad_update=stop`.
        """
        client, expected = item.client, self.expected[item.client]
        if item.answer is None:
            self.note(client, MISSING, f"no answer in {self.fleet.round_seconds:g} s", item)
            return None
        if item.answer.content is None:
            self.note(client, FAILED, item.answer.error[:300], item)
            return None
        tensors = [*expected.tensors.values(), *expected.extras.values()]
        most = most_bytes(sum(value.numel() * value.element_size() for value in tensors))
        try:
            content = unpacked(item.answer.content, TRAIN, most)
            if content.get("client") != self.federation.clients[client].id:
                raise BadMessage("from another client")
            if "error" in content:
                self.note(client, FAILED, str(content["error"])[:300], item)
                return None
            if content.get("update") is None:
                self.note(client, EMPTY, "no batch to train on", item)
                return None
            update = checked_update(content, expected)
        except BadMessage as error:
            self.note(client, REFUSED, str(error), item)
            return None
        self.note(client, ACCEPTED, "", item)
        loss = float(update.measurements["loss"].mean())
        self.entries[client] = replace(self.entries[client], loss=loss, device_seconds=seconds_told(content))
        return update

    def note(self, client: int, outcome: str, reason: str = "", item: Exchanged | None = None) -> None:
        """Write down what became of a client in this round (UserError: it is bad, and the fleet is to stop then)."""
        name = self.federation.clients[client].id
        size = len(item.answer.content or b"") if item is not None and item.answer is not None else 0
        sent = len(self.requests[client][1]) if client in self.requests else 0
        seconds = None if item is None else round(item.seconds, 3)
        self.entries[client] = Entry(self.state.round, name, outcome, reason, seconds, None, sent, size)
        if outcome in (ACCEPTED, EMPTY):
            return
        text = f"round {self.state.round + 1}: client {name} left out, {outcome}{f' ({reason})' if reason else ''}"
        if outcome == REFUSED and self.fleet.on_bad_update == "stop":
            self.federation.journal.add(self.entries.values())
            raise UserError(f"{text}; fleet.on_bad_update=stop")
        log.warning(text)

    def simulated_order(self) -> Iterator[int]:
        """The clients in the order in which a simulation of one lane at a time merges their updates."""
        federation = self.federation
        scalars = federation.config.scalars
        batches = [
            DrawnBatches(
                federation.clients[task.client].train,
                scalars.batch_size,
                scalars.local_epochs,
                federation.fixed_steps,
                scalars.seed,
                ("batches", task.round, task.client),
            )
            for task in self.tasks
        ]
        packs = plan_packs(self.tasks, batches, lambda spec: 1)
        in_packs = [pack.lanes[0].client for pack in packs]
        yield from dict.fromkeys([*in_packs, *self.chosen])


def unused(entry: Entry) -> Entry:
    """The entry of a good update in a round that is repeated."""
    return replace(entry, outcome=EMPTY, reason="too few clients: the round is repeated")
