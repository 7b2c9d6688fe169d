"""Norms with a clean and an adversarial branch, dual or conditioned on lambda by FiLM; here those of batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.models.layers import LaneLinear
from splitmix.models.norms import BN_EPS, BN_MOMENTUM, LaneBatchNorm, Tensors, fixed_norm, normalise, segment_norm

FILM_HIDDEN = 32
"""Hidden units of the network that turns lambda into a scale and a shift per channel."""


class TwoBranched(nn.Module):
    """Base of the norms that lean on one of two branches, or stand between them, by a level of robustness."""

    def set_adv_lambda(self, adv_lambda: float | Tensor, tracking: Tensor | None = None) -> None:
        """Choose the level; `tracking` are the lanes that learn statistics."""
        raise NotImplementedError

    @staticmethod
    def merged(entries: Tensors, adv_lambda: float, statistics: bool) -> Tensors:
        """One ordinary norm that computes the same in eval mode.

        Args:
            entries: of one such norm, by name; any leading dimensions, channels last.
            statistics: fold running statistics too; without, they are the batch's, or are estimated afterwards.
        """
        raise NotImplementedError


class DualNorm(TwoBranched):
    """Two norms of one kind, `clean` and `adv`, with affine parameters (and statistics) of their own.

    The output is `(1 - adv_lambda) * clean(x) + adv_lambda * adv(x)` (Hong et al., ICLR 2022, Section 3.3). At 0 and 1
    the other branch is not touched: training switches between the two.

    Attributes:
        adv_lambda: weight of the adversarial branch, in [0, 1]: one for all lanes, or one for every image,
            `[n, lanes]`. In training mode the latter are those of n / 2 clean images and then their attacked ones.
    """

    def __init__(self, clean: nn.Module, adv: nn.Module):
        super().__init__()
        self.clean, self.adv = clean, adv
        self.adv_lambda: float | Tensor = 0.0

    def set_adv_lambda(self, adv_lambda: float | Tensor, tracking: Tensor | None = None) -> None:
        """Choose the weight of the adversarial branch, one for all lanes or for every image."""
        by_image = isinstance(adv_lambda, Tensor) and adv_lambda.dim() == 2
        self.adv_lambda = adv_lambda if by_image else float(adv_lambda)

    def by_image(self, x: Tensor, level: Tensor) -> Tensor:
        """Normalise at a lambda for every image, `[n, lanes]`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.adv_lambda, Tensor):
            return self.by_image(x, self.adv_lambda)
        if self.adv_lambda == 0:
            out: Tensor = self.clean(x)
        elif self.adv_lambda == 1:
            out = self.adv(x)
        else:
            out = torch.lerp(self.clean(x), self.adv(x), self.adv_lambda)
        return out


class DualBatchNorm(DualNorm):
    """Batch normalisation with two branches."""

    clean: LaneBatchNorm
    adv: LaneBatchNorm

    def __init__(self, lanes: int, channels: int, tracked: bool = False):
        super().__init__(LaneBatchNorm(lanes, channels, tracked), LaneBatchNorm(lanes, channels, tracked))

    def line(self) -> tuple[Tensor, Tensor] | None:
        """As that of `LaneBatchNorm`, at one level for all lanes."""
        if isinstance(self.adv_lambda, Tensor):
            return None
        if self.adv_lambda in (0, 1):
            return (self.adv if self.adv_lambda else self.clean).line()
        clean, adv = self.clean.line(), self.adv.line()
        if clean is None or adv is None:
            return None
        return torch.lerp(clean[0], adv[0], self.adv_lambda), torch.lerp(clean[1], adv[1], self.adv_lambda)

    def by_image(self, x: Tensor, level: Tensor) -> Tensor:
        """Normalise at a lambda for every image, `[n, lanes]`.

        In training mode each branch has the statistics of its own half of the images, and every image is normalised
        between the two, as in eval mode between running ones. Without these each half is normalised by its own.
        """
        weight, bias = self.both("weight"), self.both("bias")
        if self.clean.tracked:
            mean, var = self.halves(x) if self.training else (self.both("running_mean"), self.both("running_var"))
            weight = weight * torch.rsqrt(var + BN_EPS)
            bias = bias - mean * weight
        else:
            x = segment_norm(x, 2 if self.training else 1, torch.ones_like(weight[0]), torch.zeros_like(bias[0]))
        of_image = level.repeat_interleave(self.clean.weight.shape[1], 1)  # [n, lanes * channels]
        spread = (..., *[None] * (x.dim() - 2))
        slope, offset = (torch.lerp(entry[0], entry[1], of_image)[spread] for entry in (weight, bias))
        return torch.addcmul(offset, x, slope)

    def both(self, name: str) -> Tensor:
        """An entry of both branches, `[2, lanes * channels]`."""
        return torch.stack([getattr(branch, name).flatten() for branch in (self.clean, self.adv)])

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the clean and of the attacked images, `[2, lanes * channels]`; branches follow them."""
        split = x.unflatten(0, (2, -1))
        var, mean = torch.var_mean(split, [1, *range(3, split.dim())], correction=0)
        for branch, of_mean, of_var in zip((self.clean, self.adv), mean.detach(), var.detach(), strict=True):
            branch.follow(of_mean, of_var, x.numel() // x.shape[1] // 2)
        return mean, var

    @staticmethod
    def merged(entries: Tensors, adv_lambda: float, statistics: bool) -> Tensors:
        """One ordinary batch normalisation that computes the same in eval mode.

        Both branches are affine in the same input, so that their mixture is too. With the statistics of the batch at
        hand both branches normalise alike, and only their affine parameters are mixed.
        """
        if not statistics:
            return mixed_affine(entries, adv_lambda)
        mixed = {name: lerped(entries, name, adv_lambda) for name in ("weight", "bias", "running_mean", "running_var")}
        slopes, offsets = [], []
        for branch in ("clean", "adv"):
            weight, bias, mean, var = (
                entries[f"{branch}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
            )
            slopes.append(weight * torch.rsqrt(var + BN_EPS))
            offsets.append(bias - mean * slopes[-1])
        slope, offset = (torch.lerp(clean, adv, adv_lambda) for clean, adv in (slopes, offsets))
        # Any mean and variance would do; those in between keep the numbers of lambda 0 and 1 what they were.
        mixed["weight"] = slope * torch.sqrt(mixed["running_var"] + BN_EPS)
        mixed["bias"] = offset + mixed["running_mean"] * slope
        merged = {name: value.to(entries["clean.weight"].dtype) for name, value in mixed.items()}
        return {**merged, "num_batches_tracked": entries["clean.num_batches_tracked"]}


def lerped(entries: Tensors, name: str, adv_lambda: float) -> Tensor:
    """An entry between those of both branches, float64."""
    return torch.lerp(entries[f"clean.{name}"].double(), entries[f"adv.{name}"].double(), adv_lambda)


def mixed_affine(entries: Tensors, adv_lambda: float) -> Tensors:
    """Weight and bias between those of both branches, which normalise alike."""
    return {name: lerped(entries, name, adv_lambda).to(entries["clean.weight"].dtype) for name in ("weight", "bias")}


class FilmNorm(TwoBranched):
    """A dual norm followed by FiLM: a scale and a shift per channel, computed from lambda.

    Wang et al., "Once-for-All Adversarial Training", NeurIPS 2020: lambda = 0 goes through the branch `clean`, any
    other through `adv`. Different from the paper: lambda enters as a number instead of a random code, so that every
    value in [0, 1] can be asked for; the scale begins near 1; the hidden layer has a fixed size.

    Attributes:
        adv_lambda: one for all lanes, `[lanes]`, or one for every image, `[n, lanes]`: then zeros stand first, equally
            many in all lanes.
        tracking: bool `[lanes]`, which lanes update running statistics in training mode; None are all.
    """

    def __init__(self, clean: nn.Module, adv: nn.Module, lanes: int, channels: int):
        super().__init__()
        self.clean, self.adv = clean, adv
        self.hidden = LaneLinear(lanes, 1, FILM_HIDDEN)
        self.film = LaneLinear(lanes, FILM_HIDDEN, 2 * channels)
        self.adv_lambda: float | Tensor = 0.0
        self.tracking: Tensor | None = None

    def set_adv_lambda(self, adv_lambda: float | Tensor, tracking: Tensor | None = None) -> None:
        """Choose lambda, for all lanes or for each, and the lanes that learn statistics."""
        self.adv_lambda, self.tracking = adv_lambda, tracking

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.adv_lambda, Tensor) and self.adv_lambda.dim() == 2:
            return self.by_image(x, self.adv_lambda)
        like = self.film.weight
        level = torch.as_tensor(self.adv_lambda, dtype=like.dtype, device=like.device)
        return self.by_lane(x, level.expand(len(like)))

    def by_lane(self, x: Tensor, level: Tensor) -> Tensor:
        """Normalise at a lambda for every lane, `[lanes]`."""
        raise NotImplementedError

    def by_image(self, x: Tensor, level: Tensor) -> Tensor:
        """Normalise at a lambda for every image, `[n, lanes]`."""
        raise NotImplementedError

    @staticmethod
    def merged(entries: Tensors, adv_lambda: float, statistics: bool) -> Tensors:
        """One ordinary norm that computes the same (see `TwoBranched.merged`)."""
        kept = entries if statistics else {name: value for name, value in entries.items() if "running" not in name}
        return selected(kept, kept["hidden.weight"].new_full(kept["hidden.weight"].shape[:1], adv_lambda))


class FilmBatchNorm(FilmNorm):
    """Batch normalisation with FiLM: each branch normalises the images that go through it by themselves."""

    clean: LaneBatchNorm
    adv: LaneBatchNorm

    def __init__(self, lanes: int, channels: int, tracked: bool = False):
        branches = LaneBatchNorm(lanes, channels, tracked), LaneBatchNorm(lanes, channels, tracked)
        super().__init__(*branches, lanes, channels)

    def by_lane(self, x: Tensor, level: Tensor) -> Tensor:
        entries = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        chosen = selected(entries, level)
        weight, bias = chosen["weight"].flatten(), chosen["bias"].flatten()
        if not self.clean.tracked:
            return normalise(x, weight, bias)
        mean, var = chosen["running_mean"].flatten(), chosen["running_var"].flatten()
        if not self.training:
            return fixed_norm(x, weight, bias, mean, var)
        out = normalise(x, weight, bias, mean, var, BN_MOMENTUM)
        tracking = torch.ones_like(level, dtype=torch.bool) if self.tracking is None else self.tracking
        for branch, mine in ((self.clean, (level == 0) & tracking), (self.adv, (level > 0) & tracking)):
            for running, new in ((branch.running_mean, mean), (branch.running_var, var)):
                running.copy_(torch.where(mine.unsqueeze(1), new.view_as(running), running))
            branch.num_batches_tracked += mine
        return out

    def by_image(self, x: Tensor, level: Tensor) -> Tensor:
        zeros = int((level[:, 0] == 0).sum())
        parts = []
        entries: Tensors = dict(self.named_parameters())
        for branch, rows in ((self.clean, slice(zeros)), (self.adv, slice(zeros, None))):
            if len(images := x[rows]):
                spread = (..., *[None] * (x.dim() - 2))
                scale, shift = (value.transpose(0, 1).flatten(1)[spread] for value in film(entries, level[rows].T))
                parts.append(branch(images) * (1 + scale) + shift)
        return torch.cat(parts)


def film(entries: Tensors, level: Tensor) -> tuple[Tensor, Tensor]:
    """Scale (less 1) and shift of every channel, `[lanes, n, channels]` each, at the lambdas `[lanes, n]`."""
    hidden = F.leaky_relu(entries["hidden.weight"].mT * level.unsqueeze(2) + entries["hidden.bias"].unsqueeze(1))
    out = torch.baddbmm(entries["film.bias"].unsqueeze(1), hidden, entries["film.weight"].mT)
    scale, shift = out.chunk(2, 2)
    return scale, shift


def selected(entries: Tensors, level: Tensor) -> Tensors:
    """The ordinary norm that a `FilmNorm` is at the lambda `level`, `[lanes]`, of every lane.

    FiLM is affine, so it goes into weight and bias.
    """
    adv = (level > 0).unsqueeze(1)
    scale, shift = (value.squeeze(1) for value in film(entries, level.unsqueeze(1)))
    merged = {
        leaf: torch.where(adv, entries[f"adv.{leaf}"], entries[f"clean.{leaf}"])
        for leaf in ("weight", "bias", "running_mean", "running_var")
        if f"clean.{leaf}" in entries
    }
    merged["bias"] = merged["bias"] * (1 + scale) + shift
    merged["weight"] = merged["weight"] * (1 + scale)
    if "running_mean" in merged:
        merged["num_batches_tracked"] = entries["clean.num_batches_tracked"]
    return merged


NORMS: dict[str, type[nn.Module]] = {"plain": LaneBatchNorm, "dual": DualBatchNorm, "film": FilmBatchNorm}
"""What stands wherever a network normalises batches, by `NetworkSpec.norm`."""
