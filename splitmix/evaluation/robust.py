"""Accuracy of customised models on attacked images, each attacked against exactly the model under test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splitmix.algorithms.base import Method
from splitmix.data.dataset import ImageSet, to_float
from splitmix.evaluation.accuracy import Accuracy, Calibration, group_network
from splitmix.evaluation.customize import CustomizedModel
from splitmix.evaluation.statistics import estimate_statistics
from splitmix.models.network import Tensors
from splitmix.randomness import torch_rng
from splitmix.robustness.attacks import Attack


@torch.no_grad()
def evaluate_attacked(
    method: Method,
    tensors: Tensors,
    widths: Sequence[float],
    images: ImageSet,
    batches: Sequence[Sequence[Tensor]],
    attack: Attack,
    *,
    calibration: Calibration | None = None,
    local: Tensors | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    first: int = 0,
) -> Accuracy:
    """Evaluate the customised models of all `widths` on every client's images, attacked.

    Every width is attacked on its own, batch by batch; with batch normalisation in mode `batch` the attack sees the
    statistics of the batch too.

    Args:
        method, tensors, widths, images, batches, calibration, local, dtype: as for `evaluate`.
        seed: of the attack's draws: equal ones for every width, others for every client and batch.
        first: number of the first of these clients, for the draws.
    """
    device = images.images.device
    samples = torch.tensor([sum(len(rows) for rows in client) for client in batches])
    per_client = torch.zeros(len(batches), len(widths), dtype=torch.float64)
    for group in method.mix_groups(tensors, widths):
        network = group_network(group, tracked=calibration is not None).to(device, dtype)
        models = {
            list(widths).index(width): CustomizedModel(network.lane_view(0, size)).eval().requires_grad_(False)
            for width, size in group.sizes.items()
        }
        for client, client_batches in enumerate(batches):
            if local:
                network.load_entries({name: value[client, : network.lanes] for name, value in local.items()})
            if calibration is not None:
                source, rows_of = calibration
                estimate_statistics(network, (to_float(source[rows], dtype) for rows in rows_of[client]))
            for number, rows in enumerate(client_batches):
                clean = to_float(images.images.index_select(0, rows.to(device)), dtype)
                labels = images.labels.index_select(0, rows.to(device))
                start = torch_rng(seed, "attack", first + client, number).initial_seed()
                for column, model in models.items():
                    with torch.random.fork_rng():
                        torch.manual_seed(start)
                        attacked = attack.perturb(model, clean, labels)
                    per_client[client, column] += (model(attacked).argmax(-1) == labels).sum().item()
    return Accuracy(tuple(widths), per_client / samples.unsqueeze(1), torch.zeros(len(batches), 0), int(samples.sum()))
