"""What a client does with a task and its own images alone: train, evaluate. The same bits as in a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from splitmix.algorithms.base import MixGroup
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, Update
from splitmix.data.augmentation import Augmentation
from splitmix.data.dataset import ImageSet
from splitmix.engine.finishing import copied, finished
from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.packing import plan_packs
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.accuracy import Accuracy, evaluate
from splitmix.federation.sampling import DrawnBatches, eval_batches
from splitmix.models.network import Tensors


@dataclass(frozen=True)
class ClientSettings:
    """How clients train; the same for all of them, as the run's config says.

    Attributes:
        optimizer: settings of the local optimizer.
        batch_size: images per training batch, at least 2.
        local_epochs: passes over the client's images per round.
        fixed_steps: this many full batches instead (`Federation.fixed_steps`); None means whole passes.
        seed: of the federation: decides batches and draws.
        augmentation: how training images are changed in every batch.
        lanes: the most lanes trained together; None are all.
    """

    optimizer: SGD | Adam
    batch_size: int = 32
    local_epochs: int = 1
    fixed_steps: int | None = None
    seed: int = 1
    augmentation: Augmentation | None = None
    lanes: int | None = None


def client_update(
    method: Method,
    task: ClientTask,
    memory: Tensors,
    images: ImageSet,
    settings: ClientSettings,
    lr: float,
    engine: EngineSettings | None = None,
) -> tuple[Update | None, Tensors]:
    """Train one client on its own images.

    With one lane at a time on one thread the result is the simulation's, bit for bit.

    Args:
        method: bound to the same model and problem as the server's.
        task: with what the client downloaded (`Method.download`).
        memory: what it remembers, `[base models, ...]`: `Method.initial_client_memory` before its first round.
        images: its training images alone, uint8.
        settings: as in the run's config.
        lr: learning rate of the round.
        engine: device and precision; None is the CPU in float32.

    Returns:
        What it uploads (None where it has no batch to train on), and what it remembers from now on.
    """
    engine = engine or EngineSettings(accelerator="cpu")
    place = engine.own_place()
    on_device = replace(images, images=images.images.to(place.device), labels=images.labels.to(place.device))
    trainer = LaneTrainer(place, method, settings.optimizer, on_device, settings.augmentation, settings.seed)
    rows, keys = torch.arange(len(on_device.images)), ("batches", task.round, task.client)
    batches = DrawnBatches(rows, settings.batch_size, settings.local_epochs, settings.fixed_steps, settings.seed, keys)
    lanes = settings.lanes or max(len(task.base_models), 1)
    remembered = {name: value.clone() for name, value in memory.items()}
    trained_lanes: list[Update] = []

    def fetch(part: ClientTask) -> tuple[ClientTask, Tensors]:
        return part, {name: value[list(part.base_models)] for name, value in memory.items()}

    for pack in plan_packs([task], [batches], lambda spec: lanes):
        result = trainer.train(pack, lr, fetch).on_cpu(pack)
        weights = {task.client: float(len(rows))}
        for trained in finished(method, pack, result, lr, weights, fetch, on_device.labels, settings.seed):
            for name, value in trained.memory.items():
                remembered[name][list(trained.update.task.base_models)] = value
            trained_lanes.append(copied(trained.update))
    return (joined(task, trained_lanes) if trained_lanes else None), remembered


def client_evaluate(
    groups: Sequence[MixGroup],
    images: ImageSet,
    *,
    batch_size: int = 128,
    adv_lambda: float = 0.0,
    memory: Tensors | None = None,
    dtype: torch.dtype = torch.float32,
) -> Accuracy:
    """Accuracy of the customised models of some widths on one client's own images.

    Args:
        groups: what the widths mix, from `Method.mix_groups` with the server's tensors.
        images: the client's images alone, uint8.
        batch_size: images per batch; without running statistics the result depends on it.
        adv_lambda: level of robustness, in [0, 1].
        memory: what the client remembers, `[base models, ...]`; its own batch normalisation is used (BN mode `local`).
        dtype: of parameters and images.
    """
    entries = {name for group in groups for name in group.tensors}
    local = {name: value.unsqueeze(0) for name, value in (memory or {}).items() if name in entries}
    batches = [eval_batches(torch.arange(len(images.images)), batch_size)]
    return evaluate(groups, images, batches, adv_lambda=adv_lambda, clients=local, dtype=dtype)


def joined(task: ClientTask, updates: Sequence[Update]) -> Update:
    """The updates of parts of a task as one of the whole task, its lanes in the task's order."""
    base_models = [base_model for update in updates for base_model in update.task.base_models]
    order = [base_models.index(base_model) for base_model in task.base_models]

    def of(values: Sequence[Tensors]) -> Tensors:
        lanes: Tensors = {name: torch.cat([part[name] for part in values])[order] for name in values[0]}
        return lanes

    return Update(
        task.planned(),
        updates[0].weight,
        of([update.tensors for update in updates]),
        of([update.extras for update in updates]),
        of([update.measurements for update in updates]),
    )
