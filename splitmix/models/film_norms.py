"""Norms with a clean and an adversarial branch that FiLM conditions on lambda; here those of batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.models.dual_norms import TwoBranched
from splitmix.models.layers import LaneLinear
from splitmix.models.norms import BN_MOMENTUM, LaneBatchNorm, Tensors, fixed_norm, normalise
from splitmix.on_device import on_device

FILM_HIDDEN = 32
"""Hidden units of the network that turns lambda into a scale and a shift per channel."""


class FilmNorm(TwoBranched):
    """A dual norm followed by FiLM: a scale and a shift per channel, computed from lambda.

    Wang et al., "Once-for-All Adversarial Training", NeurIPS 2020: lambda = 0 goes through the branch `clean`, any
    other through `adv`. Different from the paper: lambda enters as a number instead of a random code, so that every
    value in [0, 1] can be asked for; the scale begins near 1; the hidden layer has a fixed size.

    Attributes:
        adv_lambda: one for all lanes, `[lanes]`, or one for every image, `[n, lanes]`: then zeros stand first, equally
            many in all lanes.
        zeros: how many of the latter are 0.
        tracking: bool `[lanes]`, which lanes update running statistics in training mode; None are all.
    """

    def __init__(self, clean: nn.Module, adv: nn.Module, lanes: int, channels: int):
        super().__init__()
        self.clean, self.adv = clean, adv
        self.hidden = LaneLinear(lanes, 1, FILM_HIDDEN)
        self.film = LaneLinear(lanes, FILM_HIDDEN, 2 * channels)
        self.adv_lambda: float | Tensor = 0.0
        self.zeros = 0
        self.tracking: Tensor | None = None

    def set_adv_lambda(self, adv_lambda: float | Tensor, tracking: Tensor | None = None) -> None:
        """Choose lambda, for all lanes, for each or for every image, and the lanes that learn statistics.

        Those of every image may be given on the CPU: then their zeros are counted without waiting for the device.
        """
        if isinstance(adv_lambda, Tensor) and adv_lambda.dim() == 2:
            self.zeros = int((adv_lambda[:, 0] == 0).sum())
            adv_lambda = on_device(adv_lambda, self.film.weight.device)
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
        zeros, parts = self.zeros, []
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
