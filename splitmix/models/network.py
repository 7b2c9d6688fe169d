"""What every network over lanes is, and the value that says which network to build."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.models.layers import LaneBatchNorm, LaneLayer

Tensors = dict[str, Tensor]
"""Parameters and statistics of a network by name, each with a leading lane dimension."""

BN_MODES = ("batch", "tracked")


class LaneNetwork(nn.Module):
    """Base of all networks over lanes.

    `forward` takes float images in [0, 1], `[n, channels, h, w]` when all lanes see the same images or
    `[n, lanes * channels, h, w]` when each lane has its own, and returns logits `[lanes, n, classes]`.
    """

    def __init__(self, lanes: int):
        super().__init__()
        self.lanes = lanes

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights anew; batch normalisation starts at weight 1, bias 0."""
        for module in self.modules():
            if isinstance(module, LaneLayer):
                module.reset_parameters(generator)

    def load_lanes(self, tensors: Tensors, rows: Sequence[int] | None = None) -> None:
        """Set lane i to row `rows[i]` of `tensors` (all rows in order when `rows` is None)."""
        for name, value in self.state_dict().items():
            value.copy_(tensors[name] if rows is None else tensors[name][list(rows)])

    def lane_tensors(self) -> Tensors:
        """A copy of every parameter and statistic, leading dimension = lanes."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def lane_view(self, low: int, high: int) -> LaneNetwork:
        """A network of lanes `low` up to `high` that shares their memory."""
        shared: dict[int, Any] = {id(value): nn.Parameter(value.detach()[low:high]) for value in self.parameters()}
        shared |= {id(value): value[low:high] for value in self.buffers()}
        view = copy.deepcopy(self, shared)
        for module in view.modules():
            if isinstance(module, LaneNetwork | LaneLayer):
                module.lanes = high - low
        return view

    def batch_norms(self) -> list[LaneBatchNorm]:
        """All batch normalisation layers."""
        return [module for module in self.modules() if isinstance(module, LaneBatchNorm)]


class Model(Protocol):
    """A network family: the settings of one option of the config group `model`."""

    @property
    def name(self) -> str: ...

    @property
    def bn(self) -> str: ...

    def check(self, input_shape: tuple[int, int, int], width: float) -> None:
        """Raise UserError if images of `input_shape` or this `width` do not fit the network."""
        ...

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork: ...


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that fixes the shape and the arithmetic of one lane.

    Attributes:
        model: the network family.
        width: share of the channels of every hidden layer, in (0, 1].
        input_shape: channels, height, width of an image.
        classes: number of classes.
        rescale_init, rescale_layer: the paper's two rescales (see `LaneLayer`).
        bn: `batch`, or `tracked` for running statistics.
    """

    model: Model
    width: float
    input_shape: tuple[int, int, int]
    classes: int
    rescale_init: bool = False
    rescale_layer: bool = False
    bn: str = "batch"

    def build(self, lanes: int) -> LaneNetwork:
        """A network of `lanes` lanes with weights all zero: load or reset them."""
        return self.model.build(lanes, self)

    def units(self, full: int) -> int:
        """Number of channels or units of a hidden layer that has `full` of them at width 1."""
        return int(self.width * full)

    @property
    def label(self) -> str:
        """What tells this architecture from others, for people."""
        return f"{self.model.name} x{self.width:g}"

    @property
    def tracked(self) -> bool:
        return self.bn != "batch"

    @property
    def layer_scale(self) -> float:
        """What outputs of sliced layers are divided by in training mode."""
        return self.width if self.rescale_layer else 1.0

    @property
    def init_scale(self) -> float:
        """What the fan-in is divided by at initialisation."""
        return self.width if self.rescale_init else 1.0

    def initial_tensors(self, lanes: int, generator: torch.Generator) -> Tensors:
        """Freshly initialised tensors for `lanes` independent lanes."""
        network = self.build(lanes)
        network.reset_parameters(generator)
        return network.lane_tensors()


@lru_cache(maxsize=256)
def lane_template(spec: NetworkSpec, lanes: int) -> Tensors:
    """Names, shapes and types of the tensors of so many lanes, without memory."""
    with torch.device("meta"):
        return dict(spec.build(lanes).state_dict())


def check_bn(bn: str) -> None:
    """Raise UserError unless `bn` is a known batch normalisation mode."""
    if bn not in BN_MODES:
        raise UserError(f"model.bn={bn}: choose one of {', '.join(BN_MODES)}")
