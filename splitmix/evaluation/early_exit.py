"""Early exit: mixing stops, image by image, at the first base model whose mean is sure enough of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from splitmix.evaluation.predictions import Predictions

CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""The confidences at which mixing stops, `until` of `ElasticModel.predict`."""


@dataclass(frozen=True)
class EarlyExit:
    """What early exit gives and costs, one number for each of `CONFIDENCES`.

    Attributes:
        until: the confidences, in (0, 1].
        accuracy: mean over clients of each client's own, in [0, 1].
        base_models: how many answered an image, on average over all images.
        macs: multiply-accumulates of an image, on average likewise.
    """

    until: list[float]
    accuracy: list[float]
    base_models: list[float]
    macs: list[float]


def early_exit(mixes: Mapping[float, Predictions], macs: float) -> EarlyExit:
    """Accuracy and mean cost of stopping at a confidence, up to the widest of some mixes.

    Args:
        mixes: the predictions of 1, 2, 3 … base models by width, ascending, of the same images in the same order, as
            `evaluate` gives them for a method that mixes; of networks with fixed statistics, since an image that has
            left is no longer in the batch of the others.
        macs: of one base model and one image.
    """
    parts = [mixes[width] for width in sorted(mixes)]
    sure = torch.stack([part.confidence for part in parts])
    right = torch.stack([part.predicted == part.label for part in parts]).double()
    clients = parts[0].client
    images = torch.bincount(clients)
    accuracy, base_models = [], []
    for confidence in CONFIDENCES:
        stops = sure >= confidence
        stops[-1] = True  # there is nothing more to mix
        first = stops.int().argmax(0)
        hits = right.gather(0, first.unsqueeze(0)).squeeze(0)
        accuracy.append(float((torch.bincount(clients, hits) / images)[images > 0].mean()))
        base_models.append(float((first + 1).double().mean()))
    return EarlyExit(list(CONFIDENCES), accuracy, base_models, [macs * count for count in base_models])
