"""A user's own network whose lanes are computed side by side, as fast as one written over lanes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor, nn

from splitmix.models.layers import LaneConv2d, LaneLinear, unfold_lanes
from splitmix.models.network import NetworkSpec
from splitmix.models.operations import padding_of
from splitmix.models.own_network import BATCH_NORMS, OwnNetwork, replace_layer
from splitmix.models.packed_layers import LaneDropout, LaneGroupNorm, LaneLayerNorm
from splitmix.models.prototype import Source, prototype
from splitmix.models.tracing import Traced, traced


class PackedNetwork(OwnNetwork):
    """Layers over lanes in the place of the ordinary ones, called by the traced forward pass."""

    def __init__(self, lanes: int, spec: NetworkSpec, source: Source):
        super().__init__(lanes, spec, source)
        self.program = program(source)
        module = copy.deepcopy(prototype(source))
        for path, layer in list(module.named_modules()):
            if (over_lanes := self.over_lanes(path, layer)) is not None:
                replace_layer(module, path, over_lanes)
        for name, call in self.program.traced.dropouts.items():
            module.add_module(name, LaneDropout(*call))
        self.adopt(module)

    def over_lanes(self, path: str, layer: nn.Module) -> nn.Module | None:
        """The same layer over lanes; None for one without weights."""
        lanes = self.lanes
        rescale, init_width = (known.get(path, 1.0) for known in (self.rescaling.rescale, self.rescaling.init_width))
        if isinstance(layer, nn.Conv2d):
            sizes: Any = layer  # whose pairs are typed as tuples of any length
            return LaneConv2d(
                lanes, layer.in_channels, layer.out_channels, sizes.kernel_size, sizes.stride, padding_of(layer) or 0,
                layer.bias is not None, rescale, init_width, sizes.dilation, layer.groups,
            )  # fmt: skip
        if isinstance(layer, nn.Linear):
            return LaneLinear(
                lanes, layer.in_features, layer.out_features, rescale, init_width,
                self.program.traced.positions.get(path, 1), bias=layer.bias is not None,
            )  # fmt: skip
        if isinstance(layer, BATCH_NORMS):
            return self.spec.batch_norm(lanes, layer.num_features)
        if isinstance(layer, nn.GroupNorm):
            return LaneGroupNorm(lanes, layer.num_channels, layer.num_groups, layer.eps, layer.affine)
        if isinstance(layer, nn.InstanceNorm2d):
            return LaneGroupNorm(lanes, layer.num_features, layer.num_features, layer.eps, layer.affine)
        if isinstance(layer, nn.LayerNorm):
            affine = layer.elementwise_affine
            return LaneLayerNorm(lanes, layer.normalized_shape, layer.eps, affine, layer.bias is not None)
        return None

    def draw_from(self, streams: Sequence[np.random.Generator]) -> None:
        for name in self.program.traced.dropouts:
            dropout = self._modules[name]
            assert isinstance(dropout, LaneDropout)
            dropout.draw_from(streams)

    def forward(self, images: Tensor) -> Tensor:
        if self.program.traced.own_images and images.shape[1] == self.source.input_shape[0]:
            images = images.repeat(1, self.lanes, 1, 1)
        return unfold_lanes(self.program.forward(self, images), self.lanes)


class Program:
    """The traced forward pass as a Python function of a network and folded images; all its networks share one."""

    def __init__(self, source: Source, traced: Traced):
        self.source, self.traced = source, traced
        code = traced.graph.python_code("self")
        names = dict(code.globals)
        exec(compile(code.src, f"<forward of {source.label}>", "exec"), names)
        self.forward: Any = names["forward"]

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return program, (self.source,)


@lru_cache(maxsize=64)
def program(source: Source) -> Program:
    """The program of a network that can be traced."""
    program = traced(source)
    assert isinstance(program, Traced), program
    return Program(source, program)
