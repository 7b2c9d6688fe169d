"""Lanes in training: networks with their optimizers, kept for later packs of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from splitmix.engine.optimizers import SGD, Adam, clip_lanes
from splitmix.engine.shared_memory import bytes_needed
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors, lane_template
from splitmix.on_device import on_device


@dataclass(frozen=True)
class LaneRange:
    """Neighbouring lanes that step together: a network and an optimizer over views of all lanes."""

    network: LaneNetwork
    optimizer: torch.optim.Optimizer
    clip_norm: float | None = None

    def step(self, number: int) -> None:
        """Step the optimizer, so many steps having been done before, by this part or by others."""
        for state in self.optimizer.state.values():
            for value in state.values():
                if value.dim() == 0:
                    value.fill_(number)
        if self.clip_norm is not None:
            clip_lanes(self.network.parameters(), self.clip_norm)
        self.optimizer.step()


class TrainableLanes:
    """Lanes in training: one network and one optimizer, of which any neighbouring lanes can step alone."""

    def __init__(self, settings: SGD | Adam, network: LaneNetwork):
        self.settings = settings
        self.lr = settings.lr
        self.network = network
        self.tensors: Tensors = dict(network.state_dict())
        self.whole = self.range_over(network)
        self.ranges: dict[tuple[int, int], LaneRange] = {(0, network.lanes): self.whole}
        # A step from zero gradients makes the optimizer's state, so that parts can look into it.
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.whole.step(0)

    def reset(self, lr: float) -> None:
        """Make all optimizers as good as new: no momentum, this learning rate."""
        self.lr = lr  # for parts that are made later in the round
        for part in self.ranges.values():
            for group in part.optimizer.param_groups:
                group["lr"] = lr
            for state in part.optimizer.state.values():
                for value in state.values():
                    value.zero_()

    @torch.no_grad()
    def load(self, starts: Iterable[tuple[slice, Tensors]]) -> None:
        """Set all lanes, given those of each task in order."""
        if next(iter(self.tensors.values())).device.type == "cpu":
            for lanes, tensors in starts:  # none of them has to stay in memory
                for name, value in self.tensors.items():
                    value[lanes].copy_(tensors[name])
            return
        parts = [tensors for _, tensors in starts]  # one transfer instead of one for each task
        for name, value in self.tensors.items():
            value.copy_(on_device(torch.cat([part[name] for part in parts]), value.device))

    def parameters(self) -> Tensors:
        """A copy of all lanes' parameters."""
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def range_over(self, network: LaneNetwork) -> LaneRange:
        optimizer = self.settings.build(network.train().parameters(), self.lr)
        return LaneRange(network, optimizer, self.settings.clip_norm)

    def lane_range(self, low: int, high: int) -> LaneRange:
        """Lanes `low` up to `high`; what they learn is seen in the whole."""
        if (low, high) not in self.ranges:
            network = self.network.lane_view(low, high)
            part = self.range_over(network)
            for ours, theirs in zip(network.parameters(), self.network.parameters(), strict=True):
                part.optimizer.state[ours] = {
                    # What is not per parameter counts steps: see LaneRange.step.
                    key: value[low:high] if value.dim() else value.clone()
                    for key, value in self.whole.optimizer.state[theirs].items()
                }
            self.ranges[low, high] = part
        return self.ranges[low, high]


class TrainableLanesCache:
    """The trainable lanes of a trainer, at most as many bytes of them as some round has needed.

    With partial participation every round has packs of other sizes: those not used for the longest time give way.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[NetworkSpec, int], tuple[TrainableLanes, int]] = {}  # the one used last stands last
        self.most = 0

    def get(
        self, spec: NetworkSpec, lanes: int, round_index: int, build: Callable[[], TrainableLanes]
    ) -> TrainableLanes:
        """So many trainable lanes of this architecture, for use in this round; built if it is not kept."""
        key = spec, lanes
        trainable, _ = self.kept.pop(key, (None, 0))
        needed = size_of(key) + sum(size_of(other) for other, (_, used) in self.kept.items() if used == round_index)
        self.most = max(self.most, needed)
        while sum(map(size_of, self.kept)) + size_of(key) > self.most:
            del self.kept[next(iter(self.kept))]
        trainable = trainable or build()
        self.kept[key] = trainable, round_index
        return trainable

    def drop_idle(self, spec: NetworkSpec, lanes: int) -> bool:
        """Free all but these; returns whether there were others."""
        others = [key for key in self.kept if key != (spec, lanes)]
        for key in others:
            del self.kept[key]
        return bool(others)

    def clear(self) -> None:
        """Free them all."""
        self.kept.clear()


def size_of(key: tuple[NetworkSpec, int]) -> int:
    """Bytes of their parameters and statistics, which gradients and momentum multiply by about three."""
    return bytes_needed(lane_template(*key))
