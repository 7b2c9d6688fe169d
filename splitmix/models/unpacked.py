"""A user's own network of any kind: its lanes run one after another, or stacked by torch.func."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from splitmix.models.network import NetworkSpec, Tensors
from splitmix.models.own_network import BATCH_NORMS, OwnNetwork, replace_layer
from splitmix.models.prototype import Source, isolated, prototype


class UnpackedNetwork(OwnNetwork):
    """The ordinary network, called with the tensors of each lane; only batch normalisation is splitmix's own.

    Args:
        stacked: call it once for all lanes (`torch.func.vmap`); only where `stackable` says so.
    """

    def __init__(self, lanes: int, spec: NetworkSpec, source: Source, stacked: bool):
        super().__init__(lanes, spec, source)
        self.stacked = stacked
        self.seeds: list[int] = []
        self.levels: tuple[Tensor, Tensor | None] | None = None
        module = copy.deepcopy(prototype(source))
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    part._parameters[name] = nn.Parameter(torch.zeros(lanes, *value.shape))
        norms = {path: part for path, part in module.named_modules() if isinstance(part, BATCH_NORMS)}
        for path, norm in norms.items():
            replace_layer(module, path, spec.batch_norm(lanes, norm.num_features))
        self.adopt(module)
        self.ordinary = (module,)  # no layer of this network: it only holds the same ones
        self.norms = tuple(f"{path}." for path in norms)
        self.statistics = [name for name in self.state_dict() if name not in dict(self.named_parameters())]

    def draw_from(self, streams: Sequence[np.random.Generator]) -> None:
        self.seeds = [int(stream.integers(1 << 62)) for stream in streams]

    def set_adv_lambda(self, adv_lambda: float | Tensor, tracking: Tensor | None = None) -> None:
        per_lane = isinstance(adv_lambda, Tensor) and adv_lambda.dim() > 0
        self.levels = (adv_lambda, tracking) if per_lane else None  # type: ignore[assignment]
        super().set_adv_lambda(adv_lambda, tracking)

    def forward(self, images: Tensor) -> Tensor:
        [module] = self.ordinary
        module.training = self.training
        tensors = self.scaled()
        separate = images.shape[1] != self.source.input_shape[0]
        images = images.contiguous()  # an ordinary forward pass may call view, which channels-last images refuse
        # An export of stacked lanes would fix the number of images.
        if self.stacked and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            every = images.unflatten(1, (self.lanes, -1)).transpose(0, 1) if separate else images
            logits: Tensor = vmap(lambda *lane: functional_call(module, *lane), (0, 0 if separate else None))(
                tensors, every
            )
            return logits
        parts = [part.contiguous() for part in images.chunk(self.lanes, 1)] if separate else [images] * self.lanes
        return torch.stack([self.alone(tensors, lane, part) for lane, part in enumerate(parts)])

    def alone(self, tensors: Tensors, lane: int, images: Tensor) -> Tensor:
        """The logits of one lane, `[n, classes]`."""
        if self.levels is not None:
            level, tracking = self.levels
            chosen = slice(lane, lane + 1)
            super().set_adv_lambda(level[..., chosen], None if tracking is None else tracking[chosen])
        entries = {
            # splitmix's own norms keep the lane dimension.
            name: value[lane : lane + 1] if name.startswith(self.norms) else value[lane]
            for name, value in tensors.items()
        }
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices) if self.training and self.seeds else nullcontext():
            if self.training and self.seeds:
                torch.manual_seed(self.seeds[lane])
                self.seeds[lane] += 1  # an attack asks several times in one step
            logits: Tensor = functional_call(self.ordinary[0], entries, images)
        return logits

    def scaled(self) -> Tensors:
        """All entries as the forward pass uses them."""
        tensors: Tensors = dict(self.named_parameters())
        tensors |= {name: self.get_buffer(name) for name in self.statistics}
        for path, width in self.rescaling.rescale.items() if self.training else ():
            for name in (f"{path}.weight", f"{path}.bias"):
                if name in tensors:
                    tensors[name] = tensors[name] / width
        return tensors


def functional_call(module: nn.Module, entries: Tensors, images: Tensor) -> Tensor:
    """Call a module with other tensors, as `torch.func.functional_call`, which TorchScript refuses to trace."""
    held: list[tuple[dict[str, Any], str, Any]] = []
    for name, value in entries.items():
        path, _, leaf = name.rpartition(".")
        part = module.get_submodule(path)
        tensors: dict[str, Any] = part._parameters if leaf in part._parameters else part._buffers
        held.append((tensors, leaf, tensors[leaf]))
        tensors[leaf] = value
    try:
        logits: Tensor = module(images)
    finally:
        for tensors, leaf, value in held:
            tensors[leaf] = value
    return logits


@lru_cache(maxsize=64)
def stackable(source: Source) -> bool:
    """Whether torch.func can run a network for many lanes at once: tried with two, forward and backward.

    Batch normalisation and what is random in training are left to one lane after another.
    """
    module = copy.deepcopy(prototype(source))
    if any(isinstance(part, BATCH_NORMS) for part in module.modules()):
        return False
    with isolated(), torch.device("cpu"):
        lanes = {name: torch.rand(2, *value.shape).requires_grad_() for name, value in module.named_parameters()}
        images = torch.rand(2, 2, *source.input_shape)
        try:
            logits = vmap(lambda *lane: functional_call(module.train(), *lane))(lanes, images)
            logits.sum().backward()
        except Exception:
            return False
    return True


def unstack(network: nn.Module) -> None:
    """Make the lanes of a network, and of networks in it, run one after another, for counts that need every one."""
    for part in network.modules():
        if isinstance(part, UnpackedNetwork):
            part.stacked = False
