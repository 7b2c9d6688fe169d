"""Trains the lanes of one pack together on one device."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from splitmix.algorithms.base import Method, ServerState, Streams, Update
from splitmix.data.augmentation import Augmentation, augment
from splitmix.data.dataset import ImageSet, to_float
from splitmix.federation.benches import Bench, Benches, Part
from splitmix.federation.optimizers import SGD, Adam
from splitmix.federation.packing import Pack
from splitmix.federation.precision import Place
from splitmix.models.layers import fold_lanes
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors
from splitmix.randomness import rng


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


@dataclass(frozen=True)
class Trained:
    """Lanes of a client that came back, with what their training measured.

    Attributes:
        update: the lanes; its tensors are only valid until the next `Trained` is asked for.
        losses: mean loss of each lane `[lanes]`.
        accuracy: share of right predictions of each lane `[lanes]`.
        data_s: seconds that the whole pack spent gathering batches, on its first `Trained`.
    """

    update: Update
    losses: Tensor
    accuracy: Tensor
    data_s: float


def lane_losses(
    method: Method, network: LaneNetwork, batch: tuple[Tensor, Tensor], streams: Streams
) -> dict[str, Tensor]:
    """The client objective on one batch of every lane.

    Args:
        batch: float images (shared `[n, c, h, w]`, or `[n, lanes * c, h, w]`) and int64 labels (`[n]` shared, or
            `[lanes, n]`).
        streams: one source of randomness per lane.

    Returns:
        `loss`: scalar, the sum over lanes, so that no lane's gradient depends on another; `losses` and `accuracy`
        `[lanes]`, for reports.
    """
    images, labels = batch
    if labels.dim() == 1:
        labels = labels.expand(network.lanes, -1)
    objective = method.objective(network, images, labels, streams)
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
        self.benches = Benches()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "benches": Benches()}

    def train(self, state: ServerState, pack: Pack, lr: float) -> PackResult:
        """Train every lane on its batches, from the server's tensors, with a fresh optimizer."""
        device = self.place.device
        start = perf_counter()
        steps = list(pack.steps())
        data_s = perf_counter() - start
        bench = self.bench(pack.spec, len(pack.lanes), state.round)
        bench.reset(lr)
        for lanes, work in pack.works():
            bench.load(lanes, self.method.extract(state, work))
        losses = torch.zeros(len(pack.lanes), device=device)
        correct = torch.zeros(len(pack.lanes), device=device)
        streams = [rng(self.seed, "objective", state.round, lane.client, lane.row) for lane in pack.lanes]
        dropout = [rng(self.seed, "dropout", state.round, lane.client, lane.row) for lane in pack.lanes]
        # Lanes of a client see the same augmented images, wherever they are packed.
        seeing = pack.lanes[:1] if pack.shared else pack.lanes
        drawers = [rng(self.seed, "augmentation", state.round, lane.client) for lane in seeing]
        # One transfer for all steps: nothing in the loop waits for the device.
        rows = torch.cat([step.rows.flatten() for step in steps]).to(device, non_blocking=True)
        for step, wanted in zip(steps, rows.split([step.rows.numel() for step in steps]), strict=True):
            part = bench.part(step.low, step.high)
            part.network.draw_from(dropout[step.low : step.high])
            own = drawers if pack.shared else drawers[step.low : step.high]
            result = self.step(part, wanted.view(step.rows.shape), step.number, streams[step.low : step.high], own)
            data_s += result["data_s"]
            losses[step.low : step.high] += result["losses"] * step.rows.shape[-1]
            correct[step.low : step.high] += result["accuracy"] * step.rows.shape[-1]
        return PackResult(bench.tensors, losses, correct, data_s)

    def step(self, part: Part, rows: Tensor, number: int, streams: Streams, drawers: Streams = ()) -> dict[str, Any]:
        """One optimizer step of a part: what `lane_losses` returns, and the seconds of gathering."""
        start = perf_counter()
        batch = self.gather(rows, drawers)
        data_s = perf_counter() - start
        part.optimizer.zero_grad(set_to_none=True)
        with self.place.autocast():
            result = lane_losses(self.method, part.network, batch, streams)
        result["loss"].backward()
        part.step(number)
        return {**result, "data_s": data_s}

    def gather(self, rows: Tensor, drawers: Streams = ()) -> tuple[Tensor, Tensor]:
        """Float images and labels of a step: shared for `[n]`, side by side in the channels for `[lanes, n]`.

        Args:
            drawers: randomness of augmentation, one for each batch; none leaves the images as they are.
        """
        images = self.images.index_select(0, rows.flatten())
        if self.augmentation is not None and drawers:
            images = augment(images, self.augmentation, drawers)
        if rows.dim() == 2:
            images = fold_lanes(images.unflatten(0, rows.shape))
        return to_float(images, self.place.dtype), self.labels[rows]

    def bench(self, spec: NetworkSpec, lanes: int, round_index: int = -1) -> Bench:
        """The place where so many lanes of this architecture are trained in this round."""

        def build() -> Bench:
            network = spec.build(lanes).to(self.place.device, self.place.dtype)
            return Bench(self.optimizer, network)

        return self.benches.get(spec, lanes, round_index, build)
