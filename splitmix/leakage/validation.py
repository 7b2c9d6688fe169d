"""Predictions held against reconstructions: the same images, several levels of noise, rank correlation within each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from splitmix.leakage.attack import Reconstruction, flat, measured, reconstruct
from splitmix.leakage.jacobian import Upload
from splitmix.leakage.settings import AuditSettings


@dataclass(frozen=True)
class Target:
    """An image under attack.

    Attributes:
        name: what tells it from the others, such as its client and its place.
        upload: of the unknown image.
        truth: that image, `[1, c, h, w]`.
        error: predicted error per pixel at noise of 1.
    """

    name: str
    upload: Upload
    truth: Tensor
    error: float


@dataclass(frozen=True)
class Attacked:
    """One reconstruction with its picture.

    Attributes:
        name: of the target.
        level: number of the noise level.
        result: how well it went.
        truth, picture: `[c, h, w]`.
    """

    name: str
    level: int
    result: Reconstruction
    truth: Tensor
    picture: Tensor

    def record(self) -> dict[str, Any]:
        """Plain data for JSON, without the picture."""
        return {"name": self.name, "level": self.level, **self.result.record()}


def attack_all(targets: Sequence[Target], settings: AuditSettings, tell: Callable[[str], None]) -> list[Attacked]:
    """Reconstruct every image at every level; a level is one sigma for all images."""
    attacked = []
    typical = median(target.error for target in targets)
    for level, error in enumerate(settings.noise_levels):
        sigma = error / typical
        for number, target in enumerate(targets):
            tell(f"{settings.attack}, noise level {level + 1} of {len(settings.noise_levels)}, {target.name}")
            generator = torch.Generator().manual_seed(1000 * level + number)
            clean = flat(target.upload(target.truth)).detach()
            noisy = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            picture, misfit = reconstruct(
                settings.attack, target.upload, noisy, target.truth, settings.starts, settings.iterations, generator
            )
            result = measured(picture, target.truth, sigma, sigma * target.error, misfit)
            attacked.append(Attacked(target.name, level, result, target.truth[0], picture[0]))
    return attacked


def agreement(attacked: Sequence[Attacked]) -> list[dict[str, Any]]:
    """By noise level: median of reconstruction over prediction, and their rank correlation over the images.

    The correlation is None for fewer than three images.
    """
    levels = []
    for level in sorted({one.level for one in attacked}):
        results = [one.result for one in attacked if one.level == level]
        errors, predictions = [r.rmse for r in results], [r.predicted for r in results]
        enough = len(results) > 2 and len(set(predictions)) > 1
        levels.append({
            "level": level,
            "sigma": results[0].sigma,
            "images": len(results),
            "median_ratio": median(error / guess for error, guess in zip(errors, predictions, strict=True)),
            "spearman": float(spearmanr(predictions, errors)[0]) if enough else None,
        })  # fmt: skip
    return levels
