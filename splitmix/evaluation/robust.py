"""Accuracy of customised models on attacked images, each attacked against exactly the model under test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.algorithms.base import MixGroup
from splitmix.data.dataset import ImageSet, to_float
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy, Calibration
from splitmix.evaluation.customized import CustomizedLanes, CustomizedModel
from splitmix.evaluation.predictions import PredictionLog
from splitmix.models.network import NetworkSpec, Tensors
from splitmix.randomness import rng
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws

IMAGES_PER_ATTACK = 64
"""Images attacked in one call, about, where a prediction does not depend on its batch."""


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


def evaluate_attacked(
    groups: Sequence[MixGroup],
    images: ImageSet,
    batches: Sequence[Sequence[Tensor]],
    attack: Attack,
    *,
    adv_lambda: float = 0.0,
    calibration: Calibration | None = None,
    statistics: Sequence[Tensors] | None = None,
    clients: Tensors | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    first: int = 0,
    free_memory: Callable[[], None] = lambda: None,
    predictions: bool = False,
) -> Accuracy:
    """Evaluate the customised models of all widths on every client's images, attacked.

    Every width is attacked on its own. With batch normalisation in mode `batch` a batch is attacked by itself, and the
    attack sees the statistics of the batch too; otherwise neighbouring clients' batches are attacked in one call.

    Args:
        groups, images, batches, adv_lambda, calibration, statistics, clients, dtype, predictions: as for `evaluate`.
        seed: of the attack's draws: equal ones for every width, others for every client and batch.
        first: number of the first of these clients, for the draws.
        free_memory: called where the device's memory ran out. From there on fewer images are attacked in one call.

    Raises:
        UserError: an attack that picks images out of a batch, on a model whose predictions depend on the batch; too
            little memory for the smallest part of a batch that can be attacked alone.
    """
    device = images.images.device
    most = sum(len(rows) for client in batches for rows in client)  # images attacked in one call
    samples = torch.tensor([sum(len(rows) for rows in client) for client in batches])
    widths = [width for group in groups for width in group.sizes]
    per_client = torch.zeros(len(batches), len(widths), dtype=torch.float64)
    log = PredictionLog()
    estimated = calibration is not None or statistics is not None
    for number, group in enumerate(groups):
        lanes = CustomizedLanes(group, adv_lambda, clients=clients, estimated=estimated, device=device, dtype=dtype)
        if statistics is not None:
            lanes.network.load_entries(statistics[number])
        if not lanes.keeps_statistics and attack.fixed_statistics:
            raise UserError(
                f"attack={attack.name}: picks images out of a batch, and this run's predictions depend on the batch;"
                " fix the statistics with test.bn=post or static, or train with model.bn=tracked"
            )
        models = {widths.index(width): lanes.model(width) for width in group.sizes}
        loaded = -1
        images_per_attack = IMAGES_PER_ATTACK if attackable_together(group.spec, clients, calibration) else 1
        left = deque((chunk, column) for chunk in chunks(batches, images_per_attack) for column in models)
        while left:
            chunk, column = left.popleft()
            client = chunk.clients[0]
            if client != loaded:
                loaded = client
                lanes.load_client(client)
                if calibration is not None:
                    source, rows_of = calibration
                    lanes.estimate(source[rows] for rows in rows_of[client])
            outcome = None
            if chunk.images <= most:
                # Outside the handler, whose exception keeps the failed call's memory.
                with suppress(torch.OutOfMemoryError):
                    outcome = predicted(models[column], images, chunk, attack, dtype, seed, first)
            if outcome is None:
                # A prediction that depends on its batch needs all of it.
                if chunk.images == 1 or (len(chunk.rows) == 1 and not lanes.keeps_statistics):
                    raise UserError(
                        f"the device has too little memory to attack {chunk.images} images at once: lower batch_size or"
                        " test.batch_size, or use engine.accelerator=cpu"
                    )
                if chunk.images <= most:
                    free_memory()
                    most = max(chunk.images // 2, 1)
                left.extendleft((half, column) for half in reversed(chunk.halves()))
                continue
            owner = torch.repeat_interleave(torch.tensor(chunk.clients), torch.tensor([len(r) for r in chunk.rows]))
            logits, labels = outcome
            per_client[:, column].index_add_(0, owner, (logits.argmax(-1) == labels).cpu().double())
            if predictions:
                log.add(widths[column], owner, labels, logits)
    total, no_bases = int(samples.sum()), torch.zeros(len(batches), 0)
    return Accuracy(tuple(widths), per_client / samples.unsqueeze(1), no_bases, total, log.by_width())


def predicted(
    model: CustomizedModel, images: ImageSet, chunk: Chunk, attack: Attack, dtype: torch.dtype, seed: int, first: int
) -> tuple[Tensor, Tensor]:
    """The logits `[n, classes]` of the attacked images of a chunk, and their labels `[n]`, on the device."""
    rows = torch.cat(chunk.rows).to(images.images.device)
    clean = to_float(images.images.index_select(0, rows), dtype)
    labels = images.labels.index_select(0, rows)
    streams = [
        rng(seed, "attack", first + client, *number)
        for client, number in zip(chunk.clients, chunk.numbers, strict=True)
    ]
    attacked = attack.perturb(model, clean, labels, Draws(streams, [len(part) for part in chunk.rows]))
    return model(attacked).detach(), labels


def attackable_together(spec: NetworkSpec, clients: object, calibration: object) -> bool:
    """Whether images of several clients see the same model, whatever batch they are in."""
    return spec.tracked and not clients and calibration is None


def chunks(batches: Sequence[Sequence[Tensor]], images_per_attack: int) -> Iterator[Chunk]:
    """Batches in order; whole clients together until there are `together` images or more, with 1 each batch alone."""
    if images_per_attack == 1:
        for client, client_batches in enumerate(batches):
            for number, rows in enumerate(client_batches):
                yield Chunk((client,), ((number,),), (rows,))
        return
    starts = chunk_starts([sum(len(rows) for rows in client_batches) for client_batches in batches], images_per_attack)
    for low, high in zip(starts, [*starts[1:], len(batches)], strict=True):
        places = [(client, number) for client in range(low, high) for number in range(len(batches[client]))]
        if places:
            clients, numbers = zip(*places, strict=True)
            yield Chunk(
                clients,
                tuple((number,) for number in numbers),
                tuple(batches[client][number] for client, number in places),
            )


def chunk_starts(images: Sequence[int], images_per_attack: int) -> list[int]:
    """The first client of every chunk, given each client's number of images."""
    starts, filled = [0], 0
    for client, count in enumerate(images):
        if filled >= images_per_attack:
            starts.append(client)
            filled = 0
        filled += count
    return starts
