"""Norms with a clean and an adversarial branch; here those of batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitmix.models.norms import BN_EPS, LaneBatchNorm, Tensors, segment_norm, slope_and_offset


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
            weight, bias = slope_and_offset(weight, bias, mean, var)
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
            slope, offset = slope_and_offset(weight, bias, mean, var)
            slopes.append(slope)
            offsets.append(offset)
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
