"""Trains the lanes of one pack together on one device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from splitmix.algorithms.base import LaneBatch, Streams
from splitmix.algorithms.method import Method
from splitmix.data.augmentation import Augmentation, augment
from splitmix.data.dataset import ImageSet, to_float
from splitmix.engine.lane_starts import Fetch, part_of_lanes, side_by_side
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.packing import Lane, Pack
from splitmix.engine.precision import Place
from splitmix.engine.server_rows import ServerRows
from splitmix.engine.trainable_lanes import LaneRange, TrainableLanes, TrainableLanesCache
from splitmix.models.layers import fold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors, lane_template
from splitmix.on_device import on_device
from splitmix.randomness import LazyRngs


@dataclass(frozen=True)
class PackResult:
    """What came of a pack.

    Attributes:
        tensors: the trained lanes, on the device, valid until the next pack of the same shape is trained.
        losses: loss summed over samples `[lanes]`.
        correct: right predictions `[lanes]`, the mean over a lane's models where it has several.
        data_s: seconds spent gathering batches.
    """

    tensors: Tensors
    losses: Tensor
    correct: Tensor
    data_s: float

    def on_cpu(self, pack: Pack) -> PackResult:
        """The same on the CPU, in the types that servers keep."""
        like = lane_template(pack.spec, len(pack.lanes))
        tensors = {name: value.to("cpu", like[name].dtype) for name, value in self.tensors.items()}
        return PackResult(tensors, self.losses.cpu(), self.correct.cpu(), self.data_s)


def lane_losses(method: Method, network: LaneNetwork, batch: LaneBatch) -> dict[str, Tensor]:
    """The client objective on one batch of every lane.

    Args:
        batch: its labels may be `[n]`, when all lanes see the same images.

    Returns:
        `loss`: scalar, the sum over lanes, so that no lane's gradient depends on another; `losses` and `accuracy`
        `[lanes]`, for reports.
    """
    if batch.labels.dim() == 1:
        batch = replace(batch, labels=batch.labels.expand(network.lanes, -1))
    objective = method.objective(network, batch)
    return {"loss": objective.loss.sum(), "losses": objective.mean_loss, "accuracy": objective.accuracy}


class LaneTrainer:
    """Trains packs; networks and optimizers are set up once per architecture and number of lanes.

    It can be sent to a worker, which sets up its own.

    Args:
        place: device and precision.
        method: the client objective and the meaning of lanes.
        optimizer: settings of the local optimizer; it must work element by element.
        train: the training set, on the device.
        augmentation: how its images are changed in every batch.
        seed: of the lanes' own randomness.
    """

    def __init__(
        self,
        place: Place,
        method: Method,
        optimizer: SGD | Adam,
        train: ImageSet,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        self.place = place
        self.seed = seed
        self.method = method
        self.optimizer = optimizer
        self.images, self.labels = train.images, train.labels
        self.augmentation = augmentation
        self.cache = TrainableLanesCache()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cache": TrainableLanesCache()}

    def train(self, pack: Pack, lr: float, fetch: Fetch, server_rows: ServerRows | None = None) -> PackResult:
        """Train every lane on its batches, with a fresh optimizer.

        Args:
            fetch: gives what its client downloads.
            server_rows: base models on the device, which lanes then start from in place of downloads.
        """
        device = self.place.device
        start = perf_counter()
        lies = [self.method.problem.lies(lane.client, lane.base_model, self.seed) for lane in pack.lanes]
        if len(set(lies)) > 1:
            pack = replace(pack, shared=False)  # a client that lies to one base model has other images for it
        steps = list(pack.steps())
        data_s = perf_counter() - start
        trainable = self.trainable_lanes(pack.spec, len(pack.lanes), pack.round)
        trainable.reset(lr)
        lanes = self.load(trainable, pack, fetch, server_rows)
        losses = torch.zeros(len(pack.lanes), device=device)
        correct = torch.zeros(len(pack.lanes), device=device)
        dropout = lane_streams(self.seed, "dropout", pack)
        # Lanes of a client see the same augmented images, wherever they are packed.
        augmented = pack.lanes[:1] if pack.shared else pack.lanes
        draws = LazyRngs(self.seed, [("augmentation", pack.round, lane.client) for lane in augmented])
        # One transfer for all steps: nothing in the loop waits for the device.
        rows = on_device(torch.cat([step.rows.flatten() for step in steps]), device)
        for step, step_rows in zip(steps, rows.split([step.rows.numel() for step in steps]), strict=True):
            part = trainable.lane_range(step.low, step.high)
            part.network.draw_from(dropout[step.low : step.high])
            step_draws = draws if pack.shared else draws[step.low : step.high]
            of_step = part_of_lanes(lanes, step.low, step.high)
            step_lies = lies[:1] if pack.shared else lies[step.low : step.high]
            result = self.step(part, step_rows.view(step.rows.shape), step.number, of_step, step_draws, step_lies)
            data_s += result["data_s"]
            losses[step.low : step.high] += result["losses"] * step.rows.shape[-1]
            correct[step.low : step.high] += result["accuracy"] * step.rows.shape[-1]
        return PackResult(trainable.tensors, losses, correct, data_s)

    def load(
        self, trainable: TrainableLanes, pack: Pack, fetch: Fetch, server_rows: ServerRows | None = None
    ) -> LaneBatch:
        """Load every lane's start; returns what the objective may need to know of the lanes, without images."""
        contexts: list[Tensors] = []
        memories: list[Tensors] = []

        def starts() -> Iterator[tuple[slice, Tensors]]:
            for lanes, planned in pack.tasks():
                task, memory = fetch(planned)
                contexts.append(task.context)
                memories.append({name: value for name, value in memory.items() if name not in task.tensors})
                yield lanes, self.method.start(task, memory)

        if server_rows is None:
            trainable.load(starts())
        else:
            server_rows.load(trainable, pack)
        device, dtype = self.place.device, self.place.dtype
        return LaneBatch(
            images=torch.empty(0),
            labels=torch.empty(0),
            streams=lane_streams(self.seed, "objective", pack),
            clients=tuple(lane.client for lane in pack.lanes),
            budgets=tuple(self.method.problem.budget(lane.client, pack.round, self.seed) for lane in pack.lanes),
            start=trainable.parameters() if self.method.uses_start else {},
            context=side_by_side(contexts, device, dtype),
            memory=side_by_side(memories, device, dtype),
            class_counts=self.class_counts(pack),
        )

    def class_counts(self, pack: Pack) -> Tensor:
        """How many images of each class each lane has (see `LaneBatch`)."""
        if not self.method.uses_classes:
            return torch.empty(0)
        of_lanes = [claimed_counts(self.method, lane, self.labels, self.seed) for lane in pack.lanes]
        return torch.stack(of_lanes).to(self.place.dtype)

    def step(
        self,
        part: LaneRange,
        rows: Tensor,
        number: int,
        lanes: LaneBatch,
        draws: Streams = (),
        lies: Sequence[bool] = (),
    ) -> dict[str, Any]:
        """One optimizer step of a part: what `lane_losses` returns, and the seconds of gathering.

        Args:
            rows: rows of the training set, `[n]` shared or `[lanes, n]`.
            number: how many steps these lanes have done before.
            lanes: what is known of them; its images and labels are replaced.
            draws: randomness of augmentation, one for each batch; none leaves the images as they are.
            lies: of each batch whether a malicious client trains on it; none is honest.
        """
        start = perf_counter()
        images, labels = self.gather(rows, draws, lies)
        data_s = perf_counter() - start
        part.optimizer.zero_grad(set_to_none=True)
        with self.place.autocast():
            result = lane_losses(self.method, part.network, replace(lanes, images=images, labels=labels))
        result["loss"].backward()
        part.step(number)
        return {**result, "data_s": data_s}

    def gather(self, rows: Tensor, draws: Streams = (), lies: Sequence[bool] = ()) -> tuple[Tensor, Tensor]:
        """Float images and labels of a step: shared for `[n]`, side by side in the channels for `[lanes, n]`.

        Args:
            draws, lies: as for `step`.
        """
        images, labels = self.images.index_select(0, rows.flatten()), self.labels[rows]
        if self.augmentation is not None and draws:
            images = augment(images, self.augmentation, draws)
        size = rows.shape[-1]
        for batch in [number for number, lie in enumerate(lies) if lie]:
            of_batch = images[batch * size : (batch + 1) * size]
            self.method.problem.malicious.poison(of_batch, labels.view(-1, size)[batch], self.method.problem.classes)
        if rows.dim() == 2:
            images = fold_lanes(images.unflatten(0, rows.shape))
        return to_float(images, self.place.dtype), labels

    def trainable_lanes(self, spec: NetworkSpec, lanes: int, round_index: int = -1) -> TrainableLanes:
        """The place where so many lanes of this architecture are trained in this round."""

        def build() -> TrainableLanes:
            network = spec.build(lanes).to(self.place.device, self.place.dtype)
            return TrainableLanes(self.optimizer, network)

        return self.cache.get(spec, lanes, round_index, build)


def lane_streams(seed: int, use: str, pack: Pack) -> LazyRngs:
    """Randomness of each lane of a pack, its own in this round."""
    return LazyRngs(seed, [(use, pack.round, lane.client, lane.base_model) for lane in pack.lanes])


def claimed_counts(method: Method, lane: Lane, labels: Tensor, seed: int) -> Tensor:
    """How many images of each class the client of a lane says that it has, float `[classes]`."""
    problem, counts = method.problem, lane.class_counts(labels, method.problem.classes)
    return problem.malicious.seen(counts) if problem.lies(lane.client, lane.base_model, seed) else counts
