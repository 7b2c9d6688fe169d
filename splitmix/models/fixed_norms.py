"""Networks whose norms end in a slope and an offset per channel, and ordinary networks of one lane of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.models.dual_norms import DualNorm
from splitmix.models.layers import LaneConv2d, LaneLinear
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors
from splitmix.models.norms import LaneBatchNorm, slope_and_offset
from splitmix.models.tokens import TokenNorm, standardised


class SlopeAndOffset(nn.Module):
    """A norm without statistics of a batch: `slope * x + offset`, of tokens once each is standardised.

    With two branches slope and offset are `slope + adv_lambda * slope_change` and `offset + adv_lambda *
    offset_change`, which is exactly `(1 - adv_lambda) * clean(x) + adv_lambda * adv(x)`.

    Attributes:
        adv_lambda: weight of the adversarial branch, in [0, 1]; a number, or a tensor of one.
        tokens: it stands for layer normalisation of tokens; otherwise for batch normalisation with fixed statistics.
    """

    adv_lambda: float | Tensor
    tokens: bool
    slope: Tensor
    offset: Tensor
    slope_change: Tensor | None
    offset_change: Tensor | None

    def at_level(self) -> tuple[Tensor, Tensor]:
        """Slope and offset at the set level."""
        slope, offset = self.slope, self.offset
        if self.slope_change is not None and self.offset_change is not None:
            slope = slope + self.adv_lambda * self.slope_change
            offset = offset + self.adv_lambda * self.offset_change
        return slope, offset


class FixedNorm(SlopeAndOffset):
    """The norm of several lanes, entries `[lanes, channels]`."""

    def __init__(self, lanes: int, channels: int, dual: bool, tokens: bool):
        super().__init__()
        self.adv_lambda, self.tokens = 0.0, tokens
        self.slope = nn.Parameter(torch.ones(lanes, channels), requires_grad=False)
        self.offset = nn.Parameter(torch.zeros(lanes, channels), requires_grad=False)
        self.slope_change = self.offset_change = None
        if dual:
            self.slope_change = nn.Parameter(torch.zeros(lanes, channels), requires_grad=False)
            self.offset_change = nn.Parameter(torch.zeros(lanes, channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        slope, offset = self.at_level()
        if self.tokens:
            return standardised(x) * slope.unsqueeze(1) + offset.unsqueeze(1)
        per_feature = (-1, *[1] * (x.dim() - 2))
        return x * slope.view(per_feature) + offset.view(per_feature)


class OneConv2d(nn.Module):
    """The convolution of one lane: weight `[out, in / groups, k, k]`."""

    def __init__(self, layer: LaneConv2d):
        super().__init__()
        self.arguments = layer.stride, layer.padding, layer.dilation
        self.weight = nn.Parameter(layer.weight.detach()[0], requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach()[0], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, *self.arguments, x.shape[1] // self.weight.shape[1])


class OneLinear(nn.Module):
    """The linear layer of one lane: weight `[out, in]`."""

    def __init__(self, layer: LaneLinear):
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach()[0], requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach()[0], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def with_fixed_norms(spec: NetworkSpec, lanes: int) -> LaneNetwork:
    """A network of so many lanes, in eval mode, whose norms are `FixedNorm`s; load `fixed_tensors`.

    Args:
        spec: with norms of one or two branches; whether it tracks statistics makes no difference.
    """
    network = spec.build(lanes)
    for path, norm in norms_of(network).items():
        dual = isinstance(norm, DualNorm)
        one = branch_of(norm)
        parent, _, name = path.rpartition(".")
        fixed = FixedNorm(lanes, one.weight.shape[1], dual, isinstance(one, TokenNorm))
        setattr(network.get_submodule(parent), name, fixed)
    return network.eval().requires_grad_(False)


def norms_of(network: LaneNetwork) -> dict[str, DualNorm | LaneBatchNorm | TokenNorm]:
    """The norms of batches and of tokens by path, those of two branches whole."""
    dual = {path: part for path, part in network.named_modules() if isinstance(part, DualNorm)}
    plain = {
        path: part
        for path, part in network.named_modules()
        if isinstance(part, LaneBatchNorm | TokenNorm) and path.rpartition(".")[0] not in dual
    }
    return {**dual, **plain}


def branch_of(norm: DualNorm | LaneBatchNorm | TokenNorm) -> LaneBatchNorm | TokenNorm:
    """A norm itself, or one of its two branches, which are alike."""
    one = norm.clean if isinstance(norm, DualNorm) else norm
    assert isinstance(one, LaneBatchNorm | TokenNorm)
    return one


def fixed_tensors(spec: NetworkSpec, tensors: Tensors) -> Tensors:
    """The entries of `with_fixed_norms` that compute what lanes with these running statistics compute.

    Args:
        spec: of the lanes, with running statistics.
        tensors: the lanes, `[lanes, ...]`.
    """
    with torch.device("meta"):
        norms = norms_of(spec.build(1))
    prefixes = tuple(f"{path}." for path in norms)
    entries = {name: value for name, value in tensors.items() if not name.startswith(prefixes)}
    for path, norm in norms.items():
        dual, statistics = isinstance(norm, DualNorm), isinstance(branch_of(norm), LaneBatchNorm)
        slope, offset = affine(tensors, f"{path}.clean." if dual else f"{path}.", statistics)
        entries |= {f"{path}.slope": slope.float(), f"{path}.offset": offset.float()}
        if dual:
            robust_slope, robust_offset = affine(tensors, f"{path}.adv.", statistics)
            entries[f"{path}.slope_change"] = (robust_slope - slope).float()
            entries[f"{path}.offset_change"] = (robust_offset - offset).float()
    return entries


def affine(tensors: Tensors, prefix: str, statistics: bool) -> tuple[Tensor, Tensor]:
    """Slope and offset, float64, of a batch normalisation with running statistics, or of a layer normalisation."""
    if not statistics:
        return tensors[f"{prefix}weight"].double(), tensors[f"{prefix}bias"].double()
    weight, bias, mean, var = (
        tensors[prefix + leaf].double() for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return slope_and_offset(weight, bias, mean, var)


def set_level(network: LaneNetwork, adv_lambda: float | Tensor) -> None:
    """Choose the level of robustness of all fixed norms."""
    for part in network.modules():
        if isinstance(part, SlopeAndOffset):
            part.adv_lambda = adv_lambda


class OneNorm(SlopeAndOffset):
    """A `FixedNorm` of one lane, its entries in the shape in which they meet the features: `[channels, 1, 1]`."""

    def __init__(self, norm: FixedNorm, dims: int):
        super().__init__()
        self.adv_lambda, self.tokens = norm.adv_lambda, norm.tokens
        # Channels stand last in tokens, second in everything else.
        behind = 0 if norm.tokens else dims - 2

        def shaped(value: Tensor) -> nn.Parameter:
            return nn.Parameter(value.detach()[0].view(-1, *[1] * behind), requires_grad=False)

        self.slope, self.offset = shaped(norm.slope), shaped(norm.offset)
        self.slope_change = self.offset_change = None
        if norm.slope_change is not None and norm.offset_change is not None:
            self.slope_change, self.offset_change = shaped(norm.slope_change), shaped(norm.offset_change)

    def forward(self, x: Tensor) -> Tensor:
        slope, offset = self.at_level()
        return (standardised(x) if self.tokens else x) * slope + offset


def ordinary(network: LaneNetwork) -> LaneNetwork:
    """A network of a single lane whose layers are ordinary ones, in place."""
    dims: dict[nn.Module, int] = {}
    norms = [part for part in network.modules() if isinstance(part, FixedNorm)]
    hooks = [norm.register_forward_hook(lambda norm, x, _: dims.update({norm: x[0].dim()})) for norm in norms]
    network.eval()(torch.zeros(2, *network.spec.input_shape))
    for hook in hooks:
        hook.remove()
    for path, part in list(network.named_modules()):
        layer: nn.Module | None = None
        if isinstance(part, LaneConv2d):
            layer = OneConv2d(part)
        elif isinstance(part, LaneLinear):
            layer = OneLinear(part)
        elif isinstance(part, FixedNorm):
            layer = OneNorm(part, dims[part])
        if layer is not None:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, layer)
    return network.eval()
