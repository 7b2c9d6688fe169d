"""The clients of a federation, made one by one as they are asked for: their number costs a few bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmix.data.clients import ClientData
from splitmix.errors import UserError


@dataclass(frozen=True)
class Cut:
    """Rows cut into consecutive parts.

    Attributes:
        bounds: `[parts + 1]`, ascending: part i goes from `bounds[i]` up to `bounds[i + 1]`.
        rows: int64, what is cut; None cuts the numbers themselves, which then need no memory.
    """

    bounds: NDArray[np.int64]
    rows: Tensor | None = None

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> Cut:
        """These parts, end to end."""
        return cls(np.cumsum([0, *(part.shape[0] for part in parts)]), torch.cat(list(parts)))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each part."""
        return np.diff(self.bounds)

    def part(self, number: int) -> Tensor:
        low, high = int(self.bounds[number]), int(self.bounds[number + 1])
        return torch.arange(low, high) if self.rows is None else self.rows[low:high]


def contiguous(start: int, counts: Sequence[int]) -> Cut:
    """Consecutive index ranges of these lengths, the first from `start`."""
    return Cut(np.cumsum([start, *counts]))


@dataclass(frozen=True)
class DomainClients:
    """The clients of one domain.

    Attributes:
        number, domain: number and name of the domain.
        train: rows of each client, the last `n_val` of which are for validation.
        test: rows of the test set.
        n_val: `[clients]`.
    """

    number: int
    domain: str
    train: Cut
    test: Cut
    n_val: NDArray[np.int64]

    def client(self, index: int) -> ClientData:
        rows = self.train.part(index)
        n_train = rows.shape[0] - int(self.n_val[index])
        return ClientData(f"{self.number}-{index}", self.domain, rows[:n_train], rows[n_train:], self.test.part(index))


def domain_clients(
    number: int, domain: str, rows: Cut | Sequence[Tensor], tests: Cut | Sequence[Tensor], val_fraction: float
) -> DomainClients:
    """The clients of domain `number`, the last `val_fraction` of each one's `rows` for validation.

    Raises:
        UserError: a client with fewer than two train or validation images.
    """
    train, test = (part if isinstance(part, Cut) else Cut.of(part) for part in (rows, tests))
    n_val = (train.counts * val_fraction).astype(np.int64)
    n_train = train.counts - n_val
    few = np.flatnonzero((n_train < 2) | (n_val < 2))
    if len(few):
        index = int(few[0])
        raise UserError(
            f"val_fraction={val_fraction:g} leaves client {number}-{index} {n_train[index]} train and {n_val[index]}"
            " validation images: give each at least 2, or raise partition.min_samples"
        )
    return DomainClients(number, domain, train, test, n_val)


class Clients(Sequence[ClientData]):
    """All clients, domain by domain."""

    def __init__(self, domains: Sequence[DomainClients]):
        self.domains = tuple(domains)
        self.firsts = np.cumsum([0, *(len(domain.n_val) for domain in domains)])

    def __len__(self) -> int:
        return int(self.firsts[-1])

    @overload
    def __getitem__(self, index: int) -> ClientData: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClientData]: ...
    def __getitem__(self, index: int | slice) -> ClientData | list[ClientData]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        domain = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return self.domains[domain].client(number - int(self.firsts[domain]))

    def rows(self) -> list[Tensor]:
        """What the clients' rows are views of."""
        return [cut.rows for domain in self.domains for cut in (domain.train, domain.test) if cut.rows is not None]


def rows_of(clients: Sequence[ClientData]) -> list[Tensor]:
    """The tensors that clients' rows are, or are views of."""
    if isinstance(clients, Clients):
        return clients.rows()
    return [part for client in clients for part in (client.train, client.val, client.test)]
