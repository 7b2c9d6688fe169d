"""The paper's two rescales for a user's own network: which of its layers shrink with the width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.models.channels import compared_width
from splitmix.models.network import NetworkSpec
from splitmix.models.prototype import Source, growing_dims, prototype

SCALED = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear,
)  # fmt: skip
"""Layers with weights `[out, in, ...]`, for which both rescales are defined."""
NOT_SCALED = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Rescaling:
    """By layer what `splitmix.models.layers.LaneLayer` calls `rescale` and `init_width`; 1 for those not named."""

    rescale: Mapping[str, float] = field(default_factory=dict)
    init_width: Mapping[str, float] = field(default_factory=dict)

    def scale_initial(self, tensors: Mapping[str, Tensor]) -> None:
        """Multiply initial weights and biases by the root of `init_width`.

        Where their spread goes by 1 / sqrt(fan-in), as PyTorch's does, that is the fan-in of the full network.
        """
        for path, width in self.init_width.items():
            for name in (f"{path}.weight", f"{path}.bias"):
                if name in tensors:
                    tensors[name].mul_(math.sqrt(width))


def rescaling_of(source: Source, spec: NetworkSpec) -> Rescaling:
    """The rescales that a spec asks for.

    Outputs are rescaled where their number shrinks with the width, initial weights where that of the inputs does.

    Raises:
        UserError: a layer of another kind shrinks.
    """
    if spec.layer_scale == spec.init_scale == 1.0:
        return Rescaling()
    layers = dict(prototype(source).named_modules())
    rescale, init_width = {}, {}
    for entry, dims in growing_dims(source, compared_width(spec.width)).items():
        path, _, leaf = entry.rpartition(".")
        if not dims or isinstance(layers[path], NOT_SCALED):
            continue
        if type(layers[path]) not in SCALED or leaf not in ("weight", "bias"):
            raise UserError(
                f"{source.label}: {entry} is of no convolution or linear layer, for which alone the rescales are"
                " defined; set algorithm.rescale_init=false algorithm.rescale_layer=false"
            )
        if 0 in dims:
            rescale[path] = spec.layer_scale
        if 1 in dims:
            init_width[path] = spec.init_scale
    return Rescaling(rescale, init_width)
