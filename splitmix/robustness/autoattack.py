"""AutoAttack and its Square attack, through the package of their authors (extra `autoattack`)."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitmix.errors import UserError
from splitmix.robustness.ascent import Classifier, check_eps, check_steps
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws


@dataclass(frozen=True)
class AutoAttack(Attack):
    """Settings of `attack=autoattack`: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble
    of diverse parameter-free attacks", ICML 2020 (standard version: APGD-CE, APGD-T, FAB-T, Square), L-infinity. APGD-T
    needs four classes and is left out below.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
    """

    name: ClassVar[str] = "autoattack"
    norm: ClassVar[float | None] = math.inf
    fixed_statistics: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    images_per_call: ClassVar[int] = 128  # most drop out in the first steps
    parts: ClassVar[tuple[str, ...]] = ("apgd-ce", "apgd-t", "fab-t", "square")

    eps: float = 8.0

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range, or if the package is not installed."""
        check_eps(key, self.eps)
        library(key)

    def queries(self) -> int:
        """Steps of the part `square`."""
        return 5000

    def attacked(self, model: Classifier, images: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        classes = model(images[:1]).shape[1]
        parts = [part for part in self.parts if part != "apgd-t" or classes > 3]
        ensemble = library(f"attack.{self.name}").AutoAttack(
            AsModule(model), version="custom", attacks=parts, norm="Linf", eps=self.eps / 255,
            seed=draws.seed(), device=images.device,
        )  # fmt: skip
        # The settings of their standard version, which aims at the nine most likely other classes.
        ensemble.apgd.n_restarts = ensemble.fab.n_restarts = ensemble.apgd_targeted.n_restarts = 1
        ensemble.fab.n_target_classes = ensemble.apgd_targeted.n_target_classes = min(9, classes - 1)
        ensemble.square.n_queries = self.queries()
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            attacked, _ = ensemble.run_standard_evaluation(images, labels, batch_size=len(images))
        return attacked


@dataclass(frozen=True)
class Square(AutoAttack):
    """Settings of `attack=square`: Andriushchenko et al., "Square Attack", ECCV 2020: random search without gradients.

    Attributes:
        eps: largest change of a pixel, in 1/255 of the pixel range.
        steps: queries of the model per image.
    """

    name: ClassVar[str] = "square"
    parts: ClassVar[tuple[str, ...]] = ("square",)

    steps: int = 5000

    def check(self, key: str) -> None:
        """Raise UserError for a value out of range, or if the package is not installed."""
        super().check(key)
        check_steps(key, self.steps, None)

    def queries(self) -> int:
        return self.steps


class AsModule(nn.Module):
    """A classifier as the module that the package asks for."""

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def library(key: str) -> ModuleType:
    """The package; UserError, naming the extra, if it is not installed."""
    try:
        return importlib.import_module("pyautoattack")
    except ImportError:
        raise UserError(f"{key}: needs the package pyautoattack; pip install 'splitmix[autoattack]'") from None
