"""Where the channels of hidden layers, and the rows of classes, lie among a network's entries."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from splitmix.models.layers import LaneLinear
from splitmix.models.network import NetworkSpec, lane_template


@lru_cache(maxsize=256)
def hidden_dims(spec: NetworkSpec) -> tuple[tuple[str, int, int], ...]:
    """Where the channels of hidden layers lie: entry name, dimension, and neighbouring indices per channel.

    (A linear layer after convolutions has a block of indices, one per pixel, for each channel of its input; one from or
    to the heads of attention has one for each head.)
    """
    other, full = lane_template(replace(spec, width=compared_width(spec.width)), 1), lane_template(spec, 1)
    with torch.device("meta"):
        network = spec.build(1)
    dimensions = []
    for name, value in full.items():
        layer = network.get_submodule(name.rpartition(".")[0])
        for dim in range(1, value.dim()):
            if value.shape[dim] != other[name].shape[dim]:
                dimensions.append((name, dim, layer.neighbours(dim) if isinstance(layer, LaneLinear) else 1))
    return tuple(dimensions)


@lru_cache(maxsize=64)
def classifier_entries(spec: NetworkSpec) -> tuple[str, ...]:
    """The names of the entries with a row for each class: those of the last linear or convolution layer."""
    hidden = {(name, dim) for name, dim, _ in hidden_dims(spec)}
    return tuple(
        name
        for name, value in lane_template(spec, 1).items()
        if value.dim() > 1 and value.shape[1] == spec.classes and (name, 1) not in hidden
    )


def compared_width(width: float) -> float:
    """Another width, which tells hidden layers by their sizes; no narrower than need be, so that no layer is empty."""
    return 2 * width if width <= 0.5 else width / 2
