"""Predictions held against reconstructions: the same images, several levels of noise, rank correlation within each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from statistics import mean, median
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from splitmix.leakage.attack import Reconstruction, flat, measured, per_pixel, reconstruct
from splitmix.leakage.jacobian import Upload, UploadJacobian
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
        draw: number of the draw of the noise.
        result: how well it went.
        truth, picture: `[c, h, w]`.
    """

    name: str
    level: int
    draw: int
    result: Reconstruction
    truth: Tensor
    picture: Tensor

    def record(self) -> dict[str, Any]:
        """Plain data for JSON, without the picture."""
        return {"name": self.name, "level": self.level, "draw": self.draw, **self.result.record()}


def attack_all(targets: Sequence[Target], settings: AuditSettings, tell: Callable[[str], None]) -> list[Attacked]:
    """Reconstruct every image at every level, `settings.draws` times; a level is one sigma for all images."""
    attacked = []
    typical = median(target.error for target in targets)
    levels = len(settings.noise_levels)
    for number, target in enumerate(targets):
        jacobian = UploadJacobian(target.upload, target.truth)
        clean = flat(target.upload(target.truth)).detach()
        for level, draw in product(range(levels), range(settings.draws)):
            tell(f"{settings.attack}, {target.name}, noise level {level + 1} of {levels}, draw {draw + 1}")
            sigma = settings.noise_levels[level] / typical
            generator = torch.Generator().manual_seed(10**6 * draw + 1000 * level + number)
            noise = sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            dense = True if settings.attack == "newton" else None  # newton needs the same decomposition
            predicted = per_pixel(torch.from_numpy(jacobian.error(noise.numpy(), dense=dense)))
            picture, misfit, step = reconstruct(
                settings.attack, jacobian, clean + noise, settings.starts, settings.iterations, generator
            )
            result = measured(
                picture,
                target.truth,
                misfit,
                step,
                sigma=sigma,
                expected=sigma * target.error,
                predicted=predicted,
                noise=float(noise.norm() / clean.norm()),
            )
            attacked.append(Attacked(target.name, level, draw, result, target.truth[0], picture[0]))
    return attacked


def agreement(attacked: Sequence[Attacked]) -> list[dict[str, Any]]:
    """By noise level: median of reconstruction over prediction, and their rank correlation over the images.

    Twice: for the noise that was drawn, draw by draw (the correlation is the median over the draws), and with the root
    mean square over the draws against what is expected of noise of that size. A correlation is None for fewer than
    three images.
    """
    levels = []
    for level in sorted({one.level for one in attacked}):
        mine = [one for one in attacked if one.level == level]
        results = [one.result for one in mine]
        draws = [[one.result for one in mine if one.draw == draw] for draw in sorted({one.draw for one in mine})]
        ranks = [correlation([r.predicted for r in some], [r.rmse for r in some]) for some in draws]
        expected = [result.expected for result in draws[0]]
        typical = [sqrt(mean(r.rmse**2 for r in of_image)) for of_image in zip(*draws, strict=True)]
        known = [result.converged for result in results if result.converged is not None]
        levels.append({
            "level": level,
            "sigma": results[0].sigma,
            "noise": median(result.noise for result in results),
            "images": len(expected),
            "draws": len(draws),
            "median_ratio": median(result.rmse / result.predicted for result in results),
            "spearman": None if None in ranks else median(rank for rank in ranks if rank is not None),
            "expected_ratio": median(error / guess for error, guess in zip(typical, expected, strict=True)),
            "expected_spearman": correlation(expected, typical),
            "stopped": known.count(False) if known else None,
        })  # fmt: skip
    return levels


def correlation(predictions: Sequence[float], errors: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where it says nothing."""
    enough = len(predictions) > 2 and len(set(predictions)) > 1
    return float(spearmanr(predictions, errors)[0]) if enough else None
