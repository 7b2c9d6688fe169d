"""Layer normalisation of tokens with a clean and an adversarial branch, dual or conditioned on lambda by FiLM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitmix.models.dual_norms import DualNorm, mixed_affine
from splitmix.models.film_norms import FilmNorm, film, selected
from splitmix.models.norms import Tensors
from splitmix.models.tokens import TokenNorm, standardised


class DualTokenNorm(DualNorm):
    """Layer normalisation of tokens with two branches (dual layer normalisation).

    Both normalise a token alike and differ in their affine parameters: Hong et al., ICLR 2022, Section 3.3, for layer
    normalisation, which keeps no statistics.
    """

    def __init__(self, lanes: int, channels: int):
        super().__init__(TokenNorm(lanes, channels), TokenNorm(lanes, channels))

    def by_image(self, x: Tensor, level: Tensor) -> Tensor:
        share = level.T.unsqueeze(2)
        weight, bias = (
            torch.lerp(clean.unsqueeze(1), adv.unsqueeze(1), share)  # [lanes, n, channels]
            for clean, adv in zip(self.clean.parameters(), self.adv.parameters(), strict=True)
        )
        tokens = standardised(x).unflatten(1, (len(level), -1))
        return torch.addcmul(bias.unsqueeze(2), tokens, weight.unsqueeze(2)).flatten(1, 2)

    @staticmethod
    def merged(entries: Tensors, adv_lambda: float, statistics: bool) -> Tensors:
        """One ordinary layer normalisation that computes the same: there are no statistics to fold."""
        return mixed_affine(entries, adv_lambda)


class FilmTokenNorm(FilmNorm):
    """Layer normalisation of tokens with FiLM."""

    def __init__(self, lanes: int, channels: int):
        super().__init__(TokenNorm(lanes, channels), TokenNorm(lanes, channels), lanes, channels)

    def by_lane(self, x: Tensor, level: Tensor) -> Tensor:
        chosen = selected(dict(self.named_parameters()), level)
        return torch.addcmul(chosen["bias"].unsqueeze(1), standardised(x), chosen["weight"].unsqueeze(1))

    def by_image(self, x: Tensor, level: Tensor) -> Tensor:
        entries: Tensors = dict(self.named_parameters())
        scale, shift = film(entries, level.T)  # [lanes, n, channels]
        adv = (level.T > 0).unsqueeze(2)
        weight, bias = (
            torch.where(adv, entries[f"adv.{leaf}"].unsqueeze(1), entries[f"clean.{leaf}"].unsqueeze(1))
            for leaf in ("weight", "bias")
        )
        weight, bias = weight * (1 + scale), bias * (1 + scale) + shift
        tokens = standardised(x).unflatten(1, (len(level), -1))
        return torch.addcmul(bias.unsqueeze(2), tokens, weight.unsqueeze(2)).flatten(1, 2)


TOKEN_NORMS: dict[str, type[nn.Module]] = {"plain": TokenNorm, "dual": DualTokenNorm, "film": FilmTokenNorm}
"""What stands wherever a network normalises tokens, by `NetworkSpec.norm`."""
