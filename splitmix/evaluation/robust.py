"""Accuracy of customised models on attacked images, each attacked against exactly the model under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from splitmix.algorithms.base import MixGroup
from splitmix.data.dataset import ImageSet, to_float
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy, Calibration
from splitmix.evaluation.chunks import Chunk, Turns
from splitmix.evaluation.customized import CustomizedLanes, CustomizedModel
from splitmix.evaluation.mixing import MEAN
from splitmix.evaluation.predictions import PredictionLog
from splitmix.models.dependence import predicts_alone
from splitmix.models.network import NetworkSpec, Tensors
from splitmix.randomness import rng
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws


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
    mix: str = MEAN,
    present: Tensor | None = None,
) -> Accuracy:
    """Evaluate the customised models of all widths on every client's images, attacked.

    Every width is attacked on its own. With batch normalisation in mode `batch` a batch is attacked by itself, and the
    attack sees the statistics of the batch too; otherwise neighbouring clients' batches are attacked in one call.

    Args:
        groups, images, batches, adv_lambda, calibration, statistics, clients, dtype, predictions, mix, present: as for
            `evaluate`.
        seed: of the attack's draws: equal ones for every width, others for every client and batch.
        first: number of the first of these clients, for the draws.
        free_memory: called where the device's memory ran out. From there on fewer images are attacked in one call.

    Raises:
        UserError: an attack that picks images out of a batch, on a model whose predictions depend on the batch; too
            little memory for the smallest part of a batch that can be attacked alone.
    """
    samples = torch.tensor([sum(len(rows) for rows in client) for client in batches])
    widths = [width for group in groups for width in group.sizes]
    per_client = torch.zeros(len(batches), len(widths), dtype=torch.float64)
    log = PredictionLog(present)
    aim = Aim(images, attack, dtype, seed, first)
    for number, group in enumerate(groups):
        shared = None if statistics is None else statistics[number]
        lanes = prepared_lanes(group, adv_lambda, aim, calibration is not None, shared, clients)
        models = {widths.index(width): lanes.model(width, mix) for width in group.sizes}
        together = attackable_together(group.spec, clients, calibration)
        images_per_call = attack.images_per_call if together else 1
        turns = Turns([lanes], batches, list(models), calibration, images_per_call, free_memory)
        for chunk, column, (logits, labels) in turns.done(partial(predicted, aim, models)):
            owner = chunk.owner()
            per_client[:, column].index_add_(0, owner, (logits.argmax(-1) == labels).cpu().double())
            if predictions:
                log.add(widths[column], owner, labels, logits)
    total, no_bases = int(samples.sum()), torch.zeros(len(batches), 0)
    return Accuracy(tuple(widths), per_client / samples.unsqueeze(1), no_bases, total, log.by_width())


@dataclass(frozen=True)
class Aim:
    """What is attacked with what.

    Attributes:
        images: uint8, on the device.
        attack: the attack.
        dtype: of parameters and images.
        seed: of the attack's draws: equal ones for every model, others for every client and batch.
        first: number of the first of the clients, for the draws.
    """

    images: ImageSet
    attack: Attack
    dtype: torch.dtype
    seed: int
    first: int

    def attacked(self, model: CustomizedModel, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """A chunk's images attacked against a model, `[n, c, h, w]`, and their labels `[n]`, on the device."""
        rows = torch.cat(chunk.rows).to(self.images.images.device)
        clean = to_float(self.images.images.index_select(0, rows), self.dtype)
        labels = self.images.labels.index_select(0, rows)
        streams = [
            rng(self.seed, "attack", self.first + client, *number)
            for client, number in zip(chunk.clients, chunk.numbers, strict=True)
        ]
        draws = Draws(streams, [len(part) for part in chunk.rows])
        return self.attack.perturb(model, clean, labels, draws), labels


def predicted(aim: Aim, models: Mapping[int, CustomizedModel], chunk: Chunk, column: int) -> tuple[Tensor, Tensor]:
    """The logits `[n, classes]` of a chunk's images attacked against a model, and their labels `[n]`, on the device."""
    attacked, labels = aim.attacked(models[column], chunk)
    return models[column](attacked).detach(), labels


def prepared_lanes(
    group: MixGroup, adv_lambda: float, aim: Aim, estimates: bool, statistics: Tensors | None, clients: Tensors | None
) -> CustomizedLanes:
    """Lanes to be attacked.

    Args:
        estimates: statistics are estimated for each client in turn.
        statistics: what all clients share; None keeps those of the run.

    Raises:
        UserError: an attack that picks images out of a batch, on a model whose predictions depend on the batch.
    """
    estimated = estimates or statistics is not None
    device = aim.images.images.device
    lanes = CustomizedLanes(group, adv_lambda, clients=clients, estimated=estimated, device=device, dtype=aim.dtype)
    if statistics is not None:
        lanes.network.load_entries(statistics)
    if not lanes.keeps_statistics and aim.attack.fixed_statistics:
        raise UserError(
            f"attack={aim.attack.name}: picks images out of a batch, and this run's predictions depend on the batch;"
            " fix the statistics with test.bn=post or static, or train with model.bn=tracked"
        )
    return lanes


def attackable_together(spec: NetworkSpec, clients: object, calibration: object) -> bool:
    """Whether images of several clients see the same model, whatever batch they are in."""
    return predicts_alone(spec) and not clients and calibration is None
