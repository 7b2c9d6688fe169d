"""Who takes part in a round and in which batches a client sees its images: functions of (seed, round, client)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from splitmix.data.clients import ClientData, even_counts
from splitmix.data.dataset import Dataset
from splitmix.errors import UserError
from splitmix.randomness import rng


def participants(seed: int, round_index: int, clients: int, per_round: int | None) -> list[int]:
    """Clients of a round: uniform without replacement; all of them in order with full participation."""
    if per_round is None or per_round == clients:
        return list(range(clients))
    return sorted(rng(seed, "participants", round_index).choice(clients, per_round, replace=False).tolist())


def independent_participants(seed: int, round_index: int, clients: int, per_round: int) -> list[int]:
    """Clients of a round, ascending, each drawn by itself, `per_round` of them on average."""
    return np.flatnonzero(rng(seed, "participants", round_index).random(clients) < per_round / clients).tolist()


def validated_clients(seed: int, clients: int, count: int | None) -> list[int]:
    """Clients that are validated, ascending, the same in all rounds; None are all.

    Raises:
        UserError: fewer than one, or more than there are.
    """
    check_count("validate_clients", count, clients)
    if count is None or count == clients:
        return list(range(clients))
    return sorted(rng(seed, "validated clients").choice(clients, count, replace=False).tolist())


def check_count(key: str, count: int | None, clients: int) -> None:
    """Raise UserError unless a key that picks so many clients can do so; None are all."""
    if count is not None and not 1 <= count <= clients:
        raise UserError(f"{key}={count}: the federation has {clients} clients; give 1 to {clients}, or null for all")


def images_seen(clients: Sequence[ClientData], batch_size: int, epochs: int, steps: int | None) -> list[int]:
    """Images that each client trains on in a round, one that it sees twice counted twice.

    Args:
        steps: this many full batches; None means whole passes.
    """
    return [epochs * len(client.train) if steps is None else steps * batch_size for client in clients]


def equal_steps(clients: Sequence[ClientData], batch_size: int, epochs: int) -> int:
    """Steps of every client per round where sizes differ: the mean number of full batches (METHOD).

    Raises:
        UserError: a client with less than one batch.
    """
    for client in clients:
        if len(client.train) < batch_size:
            raise UserError(
                f"batch_size={batch_size}: client {client.id} has {len(client.train)} training images, less than a"
                " batch; lower batch_size or raise partition.min_samples"
            )
    return epochs * int(mean(len(client.train) // batch_size for client in clients))


def train_batches(rows: Tensor, batch_size: int, epochs: int, generator: np.random.Generator) -> list[Tensor]:
    """The batches of a client's round: `epochs` passes, reshuffled at each, the last partial batch kept.

    A last batch of one image is dropped: batch normalisation has no variance to divide by after a linear layer.

    Args:
        rows: int64 `[n]`, the client's training rows.
    """
    batches: list[Tensor] = []
    for _ in range(epochs):
        shuffled = rows[torch.from_numpy(generator.permutation(len(rows)))]
        batches += [batch for batch in shuffled.split(batch_size) if len(batch) > 1]
    return batches


def fixed_batches(rows: Tensor, batch_size: int, steps: int, generator: np.random.Generator) -> list[Tensor]:
    """Exactly `steps` full batches: the client's images over and over, reshuffled at each pass, the rest dropped.

    Args:
        rows: int64 `[n]`, the client's training rows, at least `batch_size` of them.
    """
    batches: list[Tensor] = []
    while len(batches) < steps:
        shuffled = rows[torch.from_numpy(generator.permutation(len(rows)))]
        batches += [batch for batch in shuffled.split(batch_size) if len(batch) == batch_size]
    return batches[:steps]


@dataclass(frozen=True)
class DrawnBatches(Sequence[Tensor]):
    """A client's batches, drawn where they are first looked at: a worker is sent how to draw them, not the rows.

    Attributes:
        rows: int64 `[n]`, the client's training rows.
        batch_size: images per batch.
        epochs: passes over the rows.
        steps: this many full batches instead; None means whole passes.
        seed, keys: of the stream that they are drawn from.
    """

    rows: Tensor
    batch_size: int
    epochs: int
    steps: int | None
    seed: int
    keys: tuple[int | str, ...]

    @cached_property
    def drawn(self) -> list[Tensor]:
        generator = rng(self.seed, *self.keys)
        if self.steps is not None:
            return fixed_batches(self.rows, self.batch_size, self.steps, generator)
        return train_batches(self.rows, self.batch_size, self.epochs, generator)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "drawn"}

    def __len__(self) -> int:
        return len(self.drawn)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        return self.drawn[index]


def images_per_client(max_images: int | None, clients: int) -> int | None:
    """Images of each client when there are to be so many in all; at least two, None are all."""
    return None if max_images is None else max(2, max_images // clients)


def present_classes(clients: Sequence[ClientData], dataset: Dataset) -> Tensor:
    """Bool `[clients, classes]`: the classes that each client has training images of."""
    present = torch.zeros(len(clients), len(dataset.classes), dtype=torch.bool)
    for row, client in zip(present, clients, strict=True):
        row[dataset.train.labels[client.train]] = True
    return present


def eval_batches(rows: Tensor, batch_size: int) -> list[Tensor]:
    """`rows` in order, in batches of `batch_size`; a lone last image joins the batch before it, for the same reason."""
    batches = list(rows.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


def calibration_rows(clients: Sequence[ClientData], count: int, seed: int) -> Tensor:
    """`count` training rows, equally many of every client (all of one that has fewer), in random order.

    The order mixes the clients, so that every batch of neighbouring rows looks like all of them.

    Raises:
        UserError: fewer than two, of which there are no statistics.
    """
    if count < 2:
        raise UserError(f"count={count}: give at least 2 calibration images")
    generator = rng(seed, "calibration")
    shares = even_counts(count, len(clients), generator)
    drawn = [
        client.train[torch.from_numpy(generator.permutation(len(client.train))[:share])]
        for client, share in zip(clients, shares, strict=True)
    ]
    rows = torch.cat(drawn)
    return rows[torch.from_numpy(generator.permutation(len(rows)))]
