"""Base models customised to some widths and a level of robustness: a network over lanes, and ordinary modules."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from splitmix.algorithms.base import MixGroup
from splitmix.data.dataset import to_float
from splitmix.errors import UserError
from splitmix.evaluation.mixing import JOINS, MEAN
from splitmix.evaluation.statistics import estimate_statistics, with_statistics
from splitmix.models.dependence import predicts_alone
from splitmix.models.merging import merged_branches, merged_norms
from splitmix.models.network import LaneNetwork, Tensors


class CustomizedModel(nn.Module):
    """The mean of the logits of some base models, as one grouped network.

    Args:
        network: the base models.
        mix: what takes the place of the mean, one of `JOINS`.

    Attributes:
        needs_batch: some batch normalisation takes its statistics from the batch at hand.
    """

    def __init__(self, network: LaneNetwork, mix: str = MEAN):
        super().__init__()
        self.network = network
        self.join, _ = JOINS[mix]
        self.needs_batch = any(not norm.tracked for norm in network.batch_norms())

    def forward(self, images: Tensor) -> Tensor:
        """Float images `[n, channels, h, w]` in [0, 1] to logits `[n, classes]`.

        Raises:
            UserError: a batch of one for a model whose batch normalisation takes its statistics from the batch.
        """
        # The length comes second: asked of a model with fixed statistics, it would fix the batch size of an export.
        if self.needs_batch and len(images) == 1:
            raise UserError(
                "a batch of one image: this model takes batch-normalisation statistics from the batch at hand;"
                " pass several images, or customize(..., calibration=images) to fix the statistics"
            )
        return self.join(self.network(images))


class CustomizedLanes:
    """The lanes of a mix group as a network in eval mode, which clients take turns with.

    Args:
        group: the lanes, and how many of them each width mixes.
        adv_lambda: level of robustness.
        clients: every client's own batch normalisation, `[clients, base models, ...]` (BN mode `local`).
        estimated: its running statistics are estimated, or loaded, before it predicts.
        device, dtype: of its parameters, and of the images that it is given.

    Attributes:
        network: the lanes.
        sizes: number of lanes mixed, by width.
    """

    def __init__(
        self,
        group: MixGroup,
        adv_lambda: float = 0.0,
        *,
        clients: Tensors | None = None,
        estimated: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        spec, tensors = merged_branches(group.spec, group.tensors, adv_lambda, statistics=not estimated)
        if estimated:
            spec, tensors = with_statistics(spec, tensors)
        lanes = len(next(iter(tensors.values())))
        network = spec.build(lanes)
        network.load_lanes(tensors)
        self.network: LaneNetwork = network.eval().to(device, dtype)
        self.sizes = group.sizes
        self.dtype = dtype
        self.client_entries: Tensors = {}
        if clients:
            entries = {name: value[:, :lanes] for name, value in clients.items()}
            if group.spec.norm != "plain":
                entries = merged_norms(group.spec, {**group.tensors, **entries}, adv_lambda, statistics=not estimated)
            self.client_entries = entries

    @property
    def keeps_statistics(self) -> bool:
        """Whether no prediction depends on its batch."""
        return predicts_alone(self.network.spec)

    def load_client(self, client: int) -> None:
        """Take over a client's own batch normalisation; without any, all clients share one network."""
        if self.client_entries:
            self.network.load_entries({name: value[client] for name, value in self.client_entries.items()})

    def estimate(self, batches: Iterable[Tensor]) -> None:
        """Estimate running statistics from batches of uint8 or float images, in order."""
        estimate_statistics(self.network, (to_float(images, self.dtype) for images in batches))

    def model(self, width: float, mix: str = MEAN) -> CustomizedModel:
        """The customised model of one of the widths; it shares the lanes' memory."""
        return CustomizedModel(self.network.lane_view(0, self.sizes[width]), mix).eval().requires_grad_(False)
