"""One base model as a client trains it, in float64 and plain operations, and its loss as a function of parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from splitmix.leakage.uploads import Loss
from splitmix.models.dependence import has_batch_norm
from splitmix.models.layers import LaneConv2d
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors, parameter_entries
from splitmix.models.norms import BN_EPS, LaneBatchNorm


@dataclass(frozen=True)
class ClientModel:
    """One base model and what its client uploads of it.

    Attributes:
        network: of one lane, float64; call it through `logits` with these tensors.
        parameters: what is trained, `[1, ...]`.
        statistics: running statistics, where they are used.
        kept: names of the parameters that stay with the client.
        fixed: normalised with running statistics, or not over a batch: an image's gradient does not depend on the rest
            of its batch.
        masked: the loss multiplies the logits of classes absent from a batch by 0.
        temperature: tau of the loss tau CE(logits / tau).
    """

    network: LaneNetwork
    parameters: Tensors
    statistics: Tensors
    kept: frozenset[str] = frozenset()
    fixed: bool = False
    masked: bool = False
    temperature: float = 1.0

    @classmethod
    def of(
        cls,
        spec: NetworkSpec,
        tensors: Tensors,
        *,
        training: bool,
        kept: frozenset[str] = frozenset(),
        masked: bool = False,
        temperature: float = 1.0,
    ) -> ClientModel:
        """The base model of these tensors `[1, ...]`.

        Args:
            training: as it is trained: with the statistics of each batch and the rescale of its layers. Otherwise in
                evaluation mode: with running statistics, where the network has them.
        """
        fixed = (spec.tracked and not training) or not has_batch_norm(spec)
        network = plain(replace(spec, bn=spec.bn if fixed else "batch").build(1).double().train(training))
        trained = parameter_entries(spec)
        values = {name: value.double() for name, value in tensors.items() if value.is_floating_point()}
        statistics = {name: value for name, value in values.items() if name not in trained} if fixed else {}
        parameters = {name: value for name, value in values.items() if name in trained}
        return cls(network, parameters, statistics, kept, fixed, masked, temperature)

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The client's mean loss of logits `[1, n, classes]`."""
        logits = logits[0]
        if self.masked:
            logits = logits * torch.zeros(logits.shape[-1], dtype=logits.dtype).index_fill(0, labels.unique(), 1.0)
        return self.temperature * F.cross_entropy(logits / self.temperature, labels)

    def logits(self, parameters: Tensors, images: Tensor) -> Tensor:
        """`[1, n, classes]` of images `[n, channels, h, w]`."""
        logits: Tensor = functional_call(self.network, {**self.statistics, **parameters}, (images,), strict=False)
        return logits

    @property
    def loss(self) -> Loss:
        return lambda parameters, images, labels: self.loss_of(self.logits(parameters, images), labels)


def plain(network: LaneNetwork) -> LaneNetwork:
    """The same network in operations that can be differentiated twice and over many directions at a time."""
    for module in network.modules():
        if isinstance(module, LaneConv2d):
            module.forward = partial(plain_conv, module)  # type: ignore[method-assign]
        elif isinstance(module, LaneBatchNorm):
            module.forward = partial(plain_norm, module)  # type: ignore[method-assign]
    return network


def plain_conv(layer: LaneConv2d, x: Tensor) -> Tensor:
    """The convolution of one lane."""
    weight, bias = layer.scaled()
    groups = x.shape[1] // weight.shape[2]
    flat = None if bias is None else bias[0]
    return F.conv2d(x, weight[0], flat, layer.stride, layer.padding, layer.dilation, groups)


def plain_norm(norm: LaneBatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation of one lane."""
    dims, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    if norm.tracked:
        mean, variance = norm.running_mean.view(shape), norm.running_var.view(shape)
        centred = x - mean
    else:
        centred = x - x.mean(dims, keepdim=True)
        variance = centred.square().mean(dims, keepdim=True)
    return centred * torch.rsqrt(variance + BN_EPS) * norm.weight.view(shape) + norm.bias.view(shape)
