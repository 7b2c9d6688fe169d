"""What many clients remember: rows of those that have trained, and one row, the start, for all others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splitmix.models.network import Tensors

DENSE_BYTES = 32 << 20
"""Up to so many bytes of memory, all clients together, each has a row of its own from the beginning."""
START = 0
"""The row of the clients that have not trained yet."""


def first_rows(memory: Tensors, clients: int) -> tuple[Tensors, Tensor | None]:
    """Rows and slots of clients that remember `memory`, `[base models, ...]`, before the first round."""
    if clients * sum(value.nbytes for value in memory.values()) <= DENSE_BYTES:
        return {name: value.expand(clients, *value.shape).clone() for name, value in memory.items()}, None
    return {name: value.unsqueeze(START).clone() for name, value in memory.items()}, torch.zeros(
        clients, dtype=torch.int64
    )


def places(slots: Tensor | None, clients: Sequence[int]) -> list[int]:
    """The rows of these clients."""
    return list(clients) if slots is None else slots[list(clients)].tolist()


def with_room(rows: Tensors, slots: Tensor | None, clients: Sequence[int]) -> tuple[Tensors, Tensor | None]:
    """Copies of rows and slots in which each of these clients has a row of its own."""
    if slots is None:
        return {name: value.clone() for name, value in rows.items()}, None
    new = sorted({client for client in clients if slots[client] == START})
    count = len(next(iter(rows.values())))
    slots = slots.clone()
    slots[new] = torch.arange(count, count + len(new))
    more = {name: value[START].expand(len(new), *value.shape[1:]) for name, value in rows.items()}
    return {name: torch.cat([value, more[name]]) for name, value in rows.items()}, slots


def with_start(rows: Tensors, start: Tensors) -> tuple[Tensors, Tensor]:
    """Rows and slots of clients that each have a row, as earlier versions saved them, with the row of the start.

    Args:
        rows: `[clients, base models, ...]`.
        start: by the same names, the row to add, `[1, base models, ...]`.
    """
    count = len(next(iter(rows.values())))
    return {name: torch.cat([start[name], value]) for name, value in rows.items()}, torch.arange(1, count + 1)


def wrong_slots(slots: object, rows: int, clients: int) -> str | None:
    """What is wrong with the slots of a file; None if nothing is."""
    plain = type(slots) is Tensor and slots.dtype == torch.int64 and slots.layout == torch.strided
    if not plain or not isinstance(slots, Tensor) or slots.shape != (clients,) or slots.device.type != "cpu":
        return f"its slots are no whole numbers of {clients} clients"
    if int(slots.min()) < 0 or int(slots.max()) >= rows:
        return "its slots name rows that are not there"
    return None
