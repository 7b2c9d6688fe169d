"""Batch-normalisation statistics estimated after training, as cumulative averages over given batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors

POST_PASSES = 20
"""Passes over a client's training batches of BN mode `post` (METHOD)."""
CALIBRATION_IMAGES = 1000
"""Images, of all clients together, that fix the statistics of a model that is deployed."""
CALIBRATION_BATCH = 128
"""The most calibration images whose statistics are taken together."""


def with_statistics(spec: NetworkSpec, tensors: Tensors) -> tuple[NetworkSpec, Tensors]:
    """The same lanes with room for running statistics (fresh ones where there were none)."""
    if spec.tracked:
        return spec, tensors
    spec = replace(spec, bn="tracked")
    lanes = len(next(iter(tensors.values())))
    return spec, {**spec.build(lanes).lane_tensors(), **tensors}


def calibration_batches(images: Tensor) -> tuple[Tensor, ...]:
    """Images, or their rows in a dataset, `[n, ...]` in batches of nearly equal size, at most `CALIBRATION_BATCH`."""
    return images.tensor_split(-(-len(images) // CALIBRATION_BATCH))


@torch.no_grad()
def estimate_statistics(network: LaneNetwork, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by averages over `batches`, every batch counting the same.

    The network ends in eval mode. Layer outputs are not rescaled meanwhile: only batch normalisation is in training
    mode. Without batch normalisation no batch is looked at.

    Args:
        network: built with running statistics.
        batches: float images `[n, channels, h, w]`, at least two images each.
    """
    network.eval()
    norms = network.batch_norms()
    for norm in norms:
        norm.reset_statistics()
        norm.cumulative = True
        norm.train()
    for images in batches if norms else ():
        network(images)
    for norm in norms:
        norm.cumulative = False
    network.eval()
