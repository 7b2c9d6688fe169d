"""What every network over lanes is, and the value that says which network to build."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from splitmix.models.dual_norms import DualBatchNorm, TwoBranched
from splitmix.models.dual_token_norms import TOKEN_NORMS
from splitmix.models.film_norms import FilmBatchNorm
from splitmix.models.layers import LaneLayer
from splitmix.models.norms import LaneBatchNorm, Tensors

NORMS: dict[str, type[nn.Module]] = {"plain": LaneBatchNorm, "dual": DualBatchNorm, "film": FilmBatchNorm}
"""What stands wherever a network normalises batches, by `NetworkSpec.norm`."""
ROUNDING = 1e-9
"""What a width like 3/8, not exact in binary, may be off by."""


class LaneNetwork(nn.Module):
    """Base of all networks over lanes.

    `spec` is the architecture that it was built from.

    `forward` takes float images in [0, 1], `[n, channels, h, w]` when all lanes see the same images or
    `[n, lanes * channels, h, w]` when each lane has its own, and returns logits `[lanes, n, classes]`.
    """

    spec: NetworkSpec

    def __init__(self, lanes: int):
        super().__init__()
        self.lanes = lanes

    def exit_logits(self, images: Tensor) -> list[Tensor]:
        """The logits `[lanes, n, classes]` of every exit, the deepest last; an ordinary network has one."""
        return [self(images)]

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights anew; batch normalisation starts at weight 1, bias 0."""
        for module in self.modules():
            if isinstance(module, LaneLayer):
                module.reset_parameters(generator)

    def load_entries(self, tensors: Tensors) -> None:
        """Set some entries of all lanes."""
        state = self.state_dict()
        for name, value in tensors.items():
            state[name].copy_(value)

    def load_lanes(self, tensors: Tensors, rows: Sequence[int] | None = None) -> None:
        """Set lane i to row `rows[i]` of `tensors` (all rows in order when `rows` is None)."""
        for name, value in self.state_dict().items():
            value.copy_(tensors[name] if rows is None else tensors[name][list(rows)])

    def lane_tensors(self) -> Tensors:
        """A copy of every parameter and statistic, leading dimension = lanes."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def lane_view(self, low: int, high: int) -> LaneNetwork:
        """A network of lanes `low` up to `high` that shares their memory."""
        # A deep copy takes what it finds in its memo as copied already: there the tensors are views of these lanes.
        shared: dict[int, Any] = {id(value): nn.Parameter(value.detach()[low:high]) for value in self.parameters()}
        shared |= {id(value): value[low:high] for value in self.buffers()}
        view = copy.deepcopy(self, shared)
        for module in view.modules():
            if isinstance(module, LaneNetwork | LaneLayer):
                module.lanes = high - low
        return view

    def set_adv_lambda(self, adv_lambda: float | Tensor, tracking: Tensor | None = None) -> None:
        """Lean on the adversarial branch of every two-branched norm; without such norms nothing changes.

        Args:
            adv_lambda: in [0, 1]; one for all lanes, or `[n, lanes]` for every image, or (norm `film`) `[lanes]`.
            tracking: bool `[lanes]`, the lanes whose running statistics are updated in training (norm `film`).
        """
        for module in self.modules():
            if isinstance(module, TwoBranched):
                module.set_adv_lambda(adv_lambda, tracking)

    def draw_from(self, streams: Sequence[np.random.Generator]) -> None:
        """Let what is random in training, such as dropout, follow from one stream per lane until the next call."""

    def batch_norms(self) -> list[LaneBatchNorm]:
        """All batch normalisation layers, each branch by itself."""
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
        bn: `batch`; `tracked` for running statistics; `local` for those that stay on the client.
        slice: a slice of a larger network: sizes are rounded up instead of down.
        norm: `plain`; `dual` for a clean and an adversarial branch in every norm; `film` for both, conditioned on
            lambda.
        exits: the stages after which an exit stands, ascending from 1; layers behind the last are left out. () is the
            ordinary network, whose only exit stands at its end.
        ensemble: the logits are the mean over all exits; otherwise those of the last.
        skipped: residual blocks that are left out, by the path of their module (see `models/residual.py`).
        steps: residual blocks add what they compute times a learned step size.
        members: a lane holds base models of these widths side by side, and its logits are the mean of theirs; `width`
            is their sum. () is one ordinary network.
    """

    model: Model
    width: float
    input_shape: tuple[int, int, int]
    classes: int
    rescale_init: bool = False
    rescale_layer: bool = False
    bn: str = "batch"
    slice: bool = False
    norm: str = "plain"
    exits: tuple[int, ...] = ()
    ensemble: bool = False
    skipped: tuple[str, ...] = ()
    steps: bool = False
    members: tuple[float, ...] = ()

    def build(self, lanes: int) -> LaneNetwork:
        """A network of `lanes` lanes with weights all zero: load or reset them."""
        if self.members:
            from splitmix.models.side_by_side import SideBySide  # which is made of what this file defines

            network: LaneNetwork = SideBySide(lanes, [self.alone(width) for width in self.members])
        else:
            network = self.model.build(lanes, self)
        network.spec = self
        return network

    def alone(self, width: float) -> NetworkSpec:
        """The architecture of one base model of this width."""
        return replace(self, width=width, members=())

    def batch_norm(self, lanes: int, channels: int) -> nn.Module:
        """The norm that stands after a layer of so many channels."""
        return NORMS[self.norm](lanes, channels, self.tracked)

    def layer_norm(self, lanes: int, channels: int) -> nn.Module:
        """The norm of tokens of so many channels, `[lanes, rows, channels]`."""
        return TOKEN_NORMS[self.norm](lanes, channels)

    def units(self, full: int) -> int:
        """Number of channels or units of a hidden layer that has `full` of them at width 1."""
        return math.ceil(self.width * full - ROUNDING) if self.slice else int(self.width * full + ROUNDING)

    @property
    def label(self) -> str:
        """What tells this architecture from others, for people."""
        norm = "" if self.norm == "plain" else f" {self.norm}"
        exits = f" exits {','.join(map(str, self.exits))}" if self.exits else ""
        skipped = f" without {','.join(self.skipped)}" if self.skipped else ""
        width = "+".join(f"{width:g}" for width in self.members or (self.width,))
        return f"{self.model.name} x{width}{norm}{exits}{skipped}"

    @property
    def depth(self) -> int:
        """How many stages the network holds; 0 is the ordinary one, which holds them all."""
        return self.exits[-1] if self.exits else 0

    def holds(self, part: NetworkSpec) -> bool:
        """Whether a network of this architecture has all channels, stages, blocks and first base models of a part."""
        within = self.members[: len(part.members)] == part.members if self.members else self.width >= part.width
        return within and self.depth >= part.depth and set(self.skipped) <= set(part.skipped)

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
    """Names, shapes and types of the server's tensors of so many lanes, without memory.

    Parameters are float32, whatever PyTorch's default type is when this is first asked.
    """
    with torch.device("meta"):
        return dict(spec.build(lanes).float().state_dict())


def lane_entries(spec: NetworkSpec) -> int:
    """Number of values that a client carries per lane: all entries, or those that do not stay with it."""
    kept = batch_norm_entries(spec) if spec.bn == "local" else ()
    return sum(value.numel() for name, value in lane_template(spec, 1).items() if name not in kept)


def batch_norm_entries(spec: NetworkSpec) -> frozenset[str]:
    """Names of the entries of all batch normalisation layers, affine ones included."""
    return entries_of(spec, (LaneBatchNorm,))


@lru_cache(maxsize=256)
def entries_of(spec: NetworkSpec, kinds: tuple[type[nn.Module], ...]) -> frozenset[str]:
    """Names of the entries of all layers of these kinds."""
    with torch.device("meta"):
        network = spec.build(1)
    layers = [name for name, module in network.named_modules() if isinstance(module, kinds)]
    return frozenset(name for name in network.state_dict() if name.rpartition(".")[0] in layers)


@lru_cache(maxsize=256)
def parameter_entries(spec: NetworkSpec) -> frozenset[str]:
    """Names of the entries that are trained; the others are running statistics and counters."""
    with torch.device("meta"):
        return frozenset(name for name, _ in spec.build(1).named_parameters())
