"""Accuracy of every client at every width, in one pass over the base models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.algorithms.base import Method, MixGroup
from splitmix.data.dataset import ImageSet, to_float
from splitmix.evaluation.statistics import with_statistics
from splitmix.models.network import LaneNetwork, Tensors

Calibrate = Callable[[LaneNetwork, int], None]
"""Prepares a network for client number so-and-so before it is evaluated (re-estimated statistics)."""


@dataclass(frozen=True)
class Accuracy:
    """Share of right predictions, in [0, 1].

    Attributes:
        widths: the widths, in the order of the columns.
        per_client: float64 `[clients, widths]`.
        per_base: float64 `[clients, base models]`: each base model alone.
        n_images: number of images predicted.
    """

    widths: tuple[float, ...]
    per_client: Tensor
    per_base: Tensor
    n_images: int

    def mean(self) -> dict[float, float]:
        """Unweighted mean over all clients, by width."""
        return dict(zip(self.widths, self.per_client.mean(0).tolist(), strict=True))

    def order(self) -> list[int]:
        """Base models from the best to the worst mean accuracy; equal ones stay in order."""
        return sorted(range(self.per_base.shape[1]), key=lambda base: -float(self.per_base[:, base].mean()))


def mixes(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean logits of the first `size` lanes for every size.

    Args:
        logits: `[lanes, n, classes]`.

    Returns:
        `[len(sizes), n, classes]`.
    """
    sums = logits.cumsum(0)
    return torch.stack([sums[size - 1] / size for size in sizes])


@torch.no_grad()
def evaluate(
    method: Method,
    tensors: Tensors,
    widths: Sequence[float],
    images: ImageSet,
    batches: Sequence[Sequence[Tensor]],
    *,
    calibrate: Calibrate | None = None,
    tracked: bool = False,
) -> Accuracy:
    """Evaluate the customised models of all `widths` on every client.

    Args:
        method, tensors: the server's model.
        images: uint8, on the device to evaluate on.
        batches: rows of `images`, per client, batch by batch. With batch normalisation in mode `batch` the result
            depends on this cut.
        calibrate: called with the network and the client's number before each client.
        tracked: build the networks with running statistics even if the method trains without (BN mode `post`).
    """
    device = images.images.device
    n_images = sum(len(rows) for client in batches for rows in client)
    per_client = torch.zeros(len(batches), len(widths), dtype=torch.float64)
    per_base = torch.zeros(len(batches), 0, dtype=torch.float64)
    for group in method.mix_groups(tensors, widths):
        network = group_network(group, tracked).to(device)
        sizes = list(group.sizes.values())
        columns = [list(widths).index(width) for width in group.sizes]
        alone = torch.zeros(len(batches), network.lanes, dtype=torch.float64)
        for client, client_batches in enumerate(batches):
            if calibrate is not None:
                calibrate(network, client)
            network.eval()
            right = torch.zeros(len(sizes), device=device)
            right_alone = torch.zeros(network.lanes, device=device)
            for rows in client_batches:
                labels = images.labels[rows]
                logits = network(to_float(images.images[rows]))
                right += (mixes(logits, sizes).argmax(-1) == labels).sum(-1)
                right_alone += (logits.argmax(-1) == labels).sum(-1)
            total = sum(len(rows) for rows in client_batches)
            per_client[client, columns] = right.cpu().double() / total
            alone[client] = right_alone.cpu().double() / total
        per_base = torch.cat([per_base, alone], 1)
    return Accuracy(tuple(widths), per_client, per_base, n_images)


def group_network(group: MixGroup, tracked: bool = False) -> LaneNetwork:
    """The lanes of a group as a network in eval mode."""
    spec, tensors = (group.spec, group.tensors) if not tracked else with_statistics(group.spec, group.tensors)
    lanes = len(next(iter(tensors.values())))
    network = spec.build(lanes)
    network.load_lanes(tensors)
    return network.eval()
