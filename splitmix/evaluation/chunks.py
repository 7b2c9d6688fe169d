"""Clients' batches in the chunks that are attacked in one call, and in smaller pieces where the memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Calibration
from splitmix.evaluation.customized import CustomizedLanes

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Chunk:
    """Batches attacked in one call.

    Attributes:
        clients: client of each batch, counted from the first one evaluated.
        numbers: which of its client's batches each is; where it is a part of one, then which half, and so on.
        rows: rows of each batch.
    """

    clients: tuple[int, ...]
    numbers: tuple[tuple[int, ...], ...]
    rows: tuple[Tensor, ...]

    @property
    def images(self) -> int:
        return sum(len(rows) for rows in self.rows)

    def owner(self) -> Tensor:
        """The client of each image, `[n]`."""
        return torch.repeat_interleave(torch.tensor(self.clients), torch.tensor([len(rows) for rows in self.rows]))

    def halves(self) -> tuple[Chunk, Chunk]:
        """Half of the batches each, or half of the images of a single one, of which there must be two."""
        if len(self.rows) == 1:
            parts = self.rows[0].tensor_split(2)
            first, second = (
                Chunk(self.clients, ((*self.numbers[0], half),), (part,)) for half, part in enumerate(parts)
            )
            return first, second
        middle = len(self.rows) // 2
        return (
            Chunk(self.clients[:middle], self.numbers[:middle], self.rows[:middle]),
            Chunk(self.clients[middle:], self.numbers[middle:], self.rows[middle:]),
        )


@dataclass
class Turns:
    """Chunks of batches that networks are attacked on, client after client, in pieces that the memory has room for.

    Attributes:
        lanes: networks that clients take turns with.
        batches: rows, per client, batch by batch.
        columns: what is done on every chunk, in this order.
        calibration: from which every client's statistics are estimated first.
        images_per_call: about so many images are attacked in one call; 1: each batch by itself.
        free_memory: called where the device's memory ran out.
    """

    lanes: Sequence[CustomizedLanes]
    batches: Sequence[Sequence[Tensor]]
    columns: Sequence[int]
    calibration: Calibration | None
    images_per_call: int
    free_memory: Callable[[], None]

    def done(self, work: Callable[[Chunk, int], Outcome]) -> Iterator[tuple[Chunk, int, Outcome]]:
        """Do the work on every chunk and column; UserError if there is too little memory for the smallest piece."""
        most = sum(len(rows) for client in self.batches for rows in client)  # images attacked in one call
        loaded = -1
        left = deque((chunk, column) for chunk in chunks(self.batches, self.images_per_call) for column in self.columns)
        while left:
            chunk, column = left.popleft()
            client = chunk.clients[0]
            if client != loaded:
                loaded = client
                self.load(client)
            outcome = None
            if chunk.images <= most:
                # Outside the handler, whose exception keeps the failed call's memory.
                with suppress(torch.OutOfMemoryError):
                    outcome = work(chunk, column)
            if outcome is not None:
                yield chunk, column, outcome
                continue
            # A prediction that depends on its batch needs all of it.
            if chunk.images == 1 or (len(chunk.rows) == 1 and not self.lanes[0].keeps_statistics):
                raise UserError(
                    f"the device has too little memory to attack {chunk.images} images at once: lower batch_size or"
                    " test.batch_size, or use engine.accelerator=cpu"
                )
            if chunk.images <= most:
                self.free_memory()
                most = max(chunk.images // 2, 1)
            left.extendleft((half, column) for half in reversed(chunk.halves()))

    def load(self, client: int) -> None:
        """A client's turn with the networks."""
        for lanes in self.lanes:
            lanes.load_client(client)
            if self.calibration is not None:
                source, rows_of = self.calibration
                lanes.estimate(source[rows] for rows in rows_of[client])


def chunks(batches: Sequence[Sequence[Tensor]], images_per_call: int) -> Iterator[Chunk]:
    """Batches in order; whole clients together until there are `images_per_call` images; with 1 each batch alone."""
    if images_per_call == 1:
        for client, client_batches in enumerate(batches):
            for number, rows in enumerate(client_batches):
                yield Chunk((client,), ((number,),), (rows,))
        return
    starts = chunk_starts(batches, images_per_call)
    for low, high in zip(starts, [*starts[1:], len(batches)], strict=True):
        places = [(client, number) for client in range(low, high) for number in range(len(batches[client]))]
        if places:
            clients, numbers = zip(*places, strict=True)
            yield Chunk(
                clients,
                tuple((number,) for number in numbers),
                tuple(batches[client][number] for client, number in places),
            )


def chunk_starts(batches: Sequence[Sequence[Tensor]], images_per_call: int) -> list[int]:
    """The first client of every chunk, given each client's batches."""
    starts, filled = [0], 0
    for client, client_batches in enumerate(batches):
        if filled >= images_per_call:
            starts.append(client)
            filled = 0
        filled += sum(len(rows) for rows in client_batches)
    return starts
