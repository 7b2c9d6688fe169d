"""Accuracy of customised models on attacked images, each attacked against exactly the model under test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.algorithms.base import Method
from splitmix.data.dataset import ImageSet, to_float
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy, Calibration, group_network, keeps_statistics, local_entries
from splitmix.evaluation.customize import CustomizedModel
from splitmix.evaluation.statistics import estimate_statistics
from splitmix.models.network import Tensors
from splitmix.randomness import rng
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws

TOGETHER = 64
"""Images attacked in one call, about, where a prediction does not depend on its batch."""


@dataclass(frozen=True)
class Chunk:
    """Batches attacked in one call.

    Attributes:
        clients, numbers: client of each batch (counted from the first one evaluated), and which of its batches it is.
        rows: rows of each batch.
    """

    clients: tuple[int, ...]
    numbers: tuple[int, ...]
    rows: tuple[Tensor, ...]


def evaluate_attacked(
    method: Method,
    tensors: Tensors,
    widths: Sequence[float],
    images: ImageSet,
    batches: Sequence[Sequence[Tensor]],
    attack: Attack,
    *,
    adv_lambda: float = 0.0,
    calibration: Calibration | None = None,
    local: Tensors | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    first: int = 0,
) -> Accuracy:
    """Evaluate the customised models of all `widths` on every client's images, attacked.

    Every width is attacked on its own. With batch normalisation in mode `batch` a batch is attacked by itself, and the
    attack sees the statistics of the batch too; otherwise neighbouring clients' batches are attacked in one call.

    Args:
        method, tensors, widths, images, batches, adv_lambda, calibration, local, dtype: as for `evaluate`.
        seed: of the attack's draws: equal ones for every width, others for every client and batch.
        first: number of the first of these clients, for the draws.

    Raises:
        UserError: an attack that picks images out of a batch, on a model whose predictions depend on the batch.
    """
    device = images.images.device
    samples = torch.tensor([sum(len(rows) for rows in client) for client in batches])
    per_client = torch.zeros(len(batches), len(widths), dtype=torch.float64)
    for group in method.mix_groups(tensors, widths):
        network = group_network(group, adv_lambda, tracked=calibration is not None).to(device, dtype)
        own = local_entries(group, local, adv_lambda, tracked=calibration is not None)
        if not network.spec.tracked and attack.fixed_statistics:
            raise UserError(
                f"attack={attack.name}: picks images out of a batch, and this run's predictions depend on the batch;"
                " fix the statistics with test.bn=post, or train with model.bn=tracked"
            )
        models = {
            list(widths).index(width): CustomizedModel(network.lane_view(0, size)).eval().requires_grad_(False)
            for width, size in group.sizes.items()
        }
        ready = -1
        for chunk in chunks(batches, TOGETHER if attackable_together(method, local, calibration) else 1):
            client = chunk.clients[0]
            if client != ready:
                ready = client
                if own:
                    network.load_entries({name: value[client] for name, value in own.items()})
                if calibration is not None:
                    source, rows_of = calibration
                    estimate_statistics(network, (to_float(source[rows], dtype) for rows in rows_of[client]))
            rows = torch.cat(chunk.rows).to(device)
            sizes = [len(part) for part in chunk.rows]
            clean = to_float(images.images.index_select(0, rows), dtype)
            labels = images.labels.index_select(0, rows)
            owner = torch.repeat_interleave(torch.tensor(chunk.clients), torch.tensor(sizes))
            for column, model in models.items():
                streams = [
                    rng(seed, "attack", first + client, number)
                    for client, number in zip(chunk.clients, chunk.numbers, strict=True)
                ]
                attacked = attack.perturb(model, clean, labels, Draws(streams, sizes))
                right = (model(attacked).argmax(-1) == labels).cpu().double()
                per_client[:, column].index_add_(0, owner, right)
    return Accuracy(tuple(widths), per_client / samples.unsqueeze(1), torch.zeros(len(batches), 0), int(samples.sum()))


def attackable_together(method: Method, local: object, calibration: object) -> bool:
    """Whether images of several clients see the same model, whatever batch they are in."""
    return keeps_statistics(method) and not local and calibration is None


def chunks(batches: Sequence[Sequence[Tensor]], together: int) -> Iterator[Chunk]:
    """Batches in order; whole clients together until there are `together` images or more, with 1 each batch alone."""
    if together == 1:
        for client, own in enumerate(batches):
            for number, rows in enumerate(own):
                yield Chunk((client,), (number,), (rows,))
        return
    starts = chunk_starts([sum(len(rows) for rows in own) for own in batches], together)
    for low, high in zip(starts, [*starts[1:], len(batches)], strict=True):
        places = [(client, number) for client in range(low, high) for number in range(len(batches[client]))]
        if places:
            clients, numbers = zip(*places, strict=True)
            yield Chunk(clients, numbers, tuple(batches[client][number] for client, number in places))


def chunk_starts(images: Sequence[int], together: int) -> list[int]:
    """The first client of every chunk, given each client's number of images."""
    starts, filled = [0], 0
    for client, count in enumerate(images):
        if filled >= together:
            starts.append(client)
            filled = 0
        filled += count
    return starts
