"""Trains the lanes of one pack together on one device."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from splitmix.algorithms.base import Method, ServerState, Streams, Update
from splitmix.data.augmentation import Augmentation, augment
from splitmix.data.dataset import ImageSet, to_float
from splitmix.federation.client import ClientModule
from splitmix.federation.optimizers import SGD, Adam
from splitmix.federation.packing import Pack
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


class LaneTrainer:
    """Trains packs; networks and optimizers are set up once per architecture and number of lanes.

    Args:
        fabric: device and precision.
        method: the client objective and the meaning of lanes.
        optimizer: settings of the local optimizer; it must work element by element.
        train: the training set, on the device.
        augmentation: how its images are changed in every batch.
        seed: of the lanes' own randomness.
        dtype: of parameters and images.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        optimizer: SGD | Adam,
        train: ImageSet,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ):
        self.fabric = fabric
        self.seed = seed
        self.dtype = dtype
        self.method = method
        self.optimizer = optimizer
        self.images, self.labels = train.images, train.labels
        self.augmentation = augmentation
        self.benches: dict[tuple[NetworkSpec, int], Bench] = {}

    def train(self, state: ServerState, pack: Pack, lr: float) -> PackResult:
        """Train every lane on its batches, from the server's tensors, with a fresh optimizer."""
        device = self.fabric.device
        bench = self.bench(pack.spec, len(pack.lanes))
        bench.reset(lr)
        for lanes, work in pack.works():
            bench.load(lanes, self.method.extract(state, work))
        losses = torch.zeros(len(pack.lanes), device=device)
        correct = torch.zeros(len(pack.lanes), device=device)
        streams = [rng(self.seed, "objective", state.round, lane.client, lane.row) for lane in pack.lanes]
        # Lanes of a client see the same augmented images, wherever they are packed.
        seeing = pack.lanes[:1] if pack.shared else pack.lanes
        drawers = [rng(self.seed, "augmentation", state.round, lane.client) for lane in seeing]
        data_s = 0.0
        steps = list(pack.steps())
        # One transfer for all steps: nothing in the loop waits for the device.
        rows = torch.cat([step.rows.flatten() for step in steps]).to(device, non_blocking=True)
        for step, wanted in zip(steps, rows.split([step.rows.numel() for step in steps]), strict=True):
            part = bench.part(step.low, step.high)
            own = drawers if pack.shared else drawers[step.low : step.high]
            result = self.step(part, wanted.view(step.rows.shape), step.number, streams[step.low : step.high], own)
            data_s += result["data_s"]
            losses[step.low : step.high] += result["losses"] * step.rows.shape[-1]
            correct[step.low : step.high] += result["accuracy"] * step.rows.shape[-1]
        return PackResult(bench.tensors, losses, correct, data_s)

    def step(
        self, part: Part, rows: Tensor, number: int, streams: Streams | None = None, drawers: Streams = ()
    ) -> dict[str, Any]:
        """One optimizer step of a part: what `ClientModule.training_step` returns, and the seconds of gathering."""
        start = perf_counter()
        batch = self.gather(rows, drawers)
        data_s = perf_counter() - start
        part.optimizer.zero_grad(set_to_none=True)
        with self.fabric.autocast():
            result = part.module.training_step(batch, number, streams)
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
        return to_float(images, self.dtype), self.labels[rows]

    def bench(self, spec: NetworkSpec, lanes: int) -> Bench:
        """The place where so many lanes of this architecture are trained."""
        if (spec, lanes) not in self.benches:
            network = spec.build(lanes).to(self.fabric.device, self.dtype)
            self.benches[spec, lanes] = Bench(self.method, self.optimizer, network)
        return self.benches[spec, lanes]

    def clear(self) -> None:
        """Free the memory of all benches."""
        self.benches.clear()


@dataclass(frozen=True)
class Part:
    """Neighbouring lanes of a bench: a module over views of its tensors, and an optimizer over views of its state."""

    module: ClientModule
    optimizer: torch.optim.Optimizer

    def step(self, number: int) -> None:
        """Step the optimizer, so many steps having been done before, by this part or by others."""
        for state in self.optimizer.state.values():
            for value in state.values():
                if value.dim() == 0:
                    value.fill_(number)
        self.optimizer.step()


class Bench:
    """Lanes in training: one network and one optimizer, of which any neighbouring lanes can step alone."""

    def __init__(self, method: Method, settings: SGD | Adam, network: LaneNetwork):
        self.method = method
        self.settings = settings
        self.network = network
        self.tensors: Tensors = dict(network.state_dict())
        self.whole = self.client(network)
        self.parts: dict[tuple[int, int], Part] = {(0, network.lanes): self.whole}
        # A step from zero gradients makes the optimizer's state, so that parts can look into it.
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.whole.step(0)

    def reset(self, lr: float) -> None:
        """Make all optimizers as good as new: no momentum, this learning rate."""
        for part in self.parts.values():
            for group in part.optimizer.param_groups:
                group["lr"] = lr
            for state in part.optimizer.state.values():
                for value in state.values():
                    value.zero_()

    @torch.no_grad()
    def load(self, lanes: slice, tensors: Tensors) -> None:
        """Set these lanes."""
        for name, value in self.tensors.items():
            value[lanes].copy_(tensors[name])

    def client(self, network: LaneNetwork) -> Part:
        module = ClientModule(self.method, network.train(), self.settings)
        return Part(module, module.configure_optimizers())

    def part(self, low: int, high: int) -> Part:
        """Lanes `low` up to `high`; what they learn is seen in the whole."""
        if (low, high) not in self.parts:
            network = self.network.lane_view(low, high)
            part = self.client(network)
            for ours, theirs in zip(network.parameters(), self.network.parameters(), strict=True):
                part.optimizer.state[ours] = {
                    # What is not per parameter counts steps: see Part.step.
                    key: value[low:high] if value.dim() else value.clone()
                    for key, value in self.whole.optimizer.state[theirs].items()
                }
            self.parts[low, high] = part
        return self.parts[low, high]
