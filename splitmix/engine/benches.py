"""Benches, where lanes are trained: networks with their optimizers, kept for later packs of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from splitmix.engine.optimizers import SGD, Adam, clip_lanes
from splitmix.engine.shared_memory import bytes_needed
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors, lane_template


@dataclass(frozen=True)
class Part:
    """Neighbouring lanes of a bench: a network over views of its tensors, and an optimizer over views of its state."""

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


class Bench:
    """Lanes in training: one network and one optimizer, of which any neighbouring lanes can step alone."""

    def __init__(self, settings: SGD | Adam, network: LaneNetwork):
        self.settings = settings
        self.lr = settings.lr
        self.network = network
        self.tensors: Tensors = dict(network.state_dict())
        self.whole = self.part_of(network)
        self.parts: dict[tuple[int, int], Part] = {(0, network.lanes): self.whole}
        # A step from zero gradients makes the optimizer's state, so that parts can look into it.
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.whole.step(0)

    def reset(self, lr: float) -> None:
        """Make all optimizers as good as new: no momentum, this learning rate."""
        self.lr = lr  # for parts that are made later in the round
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

    def parameters(self) -> Tensors:
        """A copy of all lanes' parameters."""
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def part_of(self, network: LaneNetwork) -> Part:
        optimizer = self.settings.build(network.train().parameters(), self.lr)
        return Part(network, optimizer, self.settings.clip_norm)

    def part(self, low: int, high: int) -> Part:
        """Lanes `low` up to `high`; what they learn is seen in the whole."""
        if (low, high) not in self.parts:
            network = self.network.lane_view(low, high)
            part = self.part_of(network)
            for ours, theirs in zip(network.parameters(), self.network.parameters(), strict=True):
                part.optimizer.state[ours] = {
                    # What is not per parameter counts steps: see Part.step.
                    key: value[low:high] if value.dim() else value.clone()
                    for key, value in self.whole.optimizer.state[theirs].items()
                }
            self.parts[low, high] = part
        return self.parts[low, high]


class Benches:
    """The benches of a trainer, at most as many bytes of them as some round has needed.

    With partial participation every round has packs of other sizes: those not used for the longest time give way.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[NetworkSpec, int], tuple[Bench, int]] = {}  # the one used last stands last
        self.most = 0

    def get(self, spec: NetworkSpec, lanes: int, round_index: int, build: Callable[[], Bench]) -> Bench:
        """The bench of so many lanes of this architecture, for use in this round; built if it is not kept."""
        key = spec, lanes
        bench, _ = self.kept.pop(key, (None, 0))
        needed = size_of(key) + sum(size_of(other) for other, (_, used) in self.kept.items() if used == round_index)
        self.most = max(self.most, needed)
        while sum(map(size_of, self.kept)) + size_of(key) > self.most:
            del self.kept[next(iter(self.kept))]
        bench = bench or build()
        self.kept[key] = bench, round_index
        return bench

    def drop_idle(self, spec: NetworkSpec, lanes: int) -> bool:
        """Free all benches but this one; returns whether there were others."""
        others = [key for key in self.kept if key != (spec, lanes)]
        for key in others:
            del self.kept[key]
        return bool(others)

    def clear(self) -> None:
        """Free all benches."""
        self.kept.clear()


def size_of(key: tuple[NetworkSpec, int]) -> int:
    """Bytes of a bench's parameters and statistics, which gradients and momentum multiply by about three."""
    return bytes_needed(lane_template(*key))
