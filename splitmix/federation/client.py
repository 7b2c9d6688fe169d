"""The client's side of a round as a LightningModule: lanes in training, with width and lambda switches."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.averaging import corners
from splitmix.algorithms.base import LaneBatch, Streams
from splitmix.algorithms.method import Method
from splitmix.engine.lane_trainer import lane_losses
from splitmix.engine.optimizers import SGD, Adam
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, lane_template
from splitmix.randomness import rng


class ClientModule(LightningModule):
    """Wraps a network over lanes.

    `training_step` is the client objective of the method; `forward` is the customised model, the mean of the logits
    of the first lanes. A stock `Trainer` and the federation loop both drive it.

    Args:
        method: gives the objective and the meaning of a width.
        network: the lanes.
        optimizer: settings of the local optimizer.
        lr: learning rate; None takes the optimizer's own.
    """

    def __init__(self, method: Method, network: LaneNetwork, optimizer: SGD | Adam, lr: float | None = None):
        super().__init__()
        self.method = method
        self.network = network
        self.optimizer_settings = optimizer
        self.lr = optimizer.lr if lr is None else lr
        self.mixed = network.lanes
        self.adv_lambda = 0.0
        self.spec = network.spec
        self.streams = [rng(0, "objective", lane) for lane in range(network.lanes)]

    def set_width(self, width: float) -> None:
        """Mix so many lanes in `forward`. Raises UserError if the method or this module cannot give the width."""
        [group] = self.method.mix_groups({}, [width])
        if group.sizes[width] > self.network.lanes or group.spec.width > self.network.spec.width:
            raise UserError(f"width {width:g}: this client holds {self.network.lanes} x {self.network.spec.label}")
        self.mixed, self.spec = group.sizes[width], group.spec

    def set_adv_lambda(self, adv_lambda: float) -> None:
        """Lean on the adversarial batch normalisation by `adv_lambda` in [0, 1].

        Raises:
            UserError: out of range, or other than 0 for a network without dual batch normalisation.
        """
        check_adv_lambda(self.method, adv_lambda)
        self.adv_lambda = adv_lambda

    def forward(self, images: Tensor) -> Tensor:
        """Float images `[n, channels, h, w]` in [0, 1] to logits `[n, classes]`."""
        network = self.network
        if self.spec != network.spec:
            slices = self.spec.build(network.lanes).to(images.device).train(self.training)
            slices.load_lanes(corners(network.lane_tensors(), lane_template(self.spec, 1)))
            network = slices
        network.set_adv_lambda(self.adv_lambda)
        logits: Tensor = network(images)[: self.mixed]
        return logits.mean(0)

    def training_step(
        self, batch: tuple[Tensor, Tensor], batch_idx: int = 0, streams: Streams | None = None
    ) -> dict[str, Tensor]:
        """One batch of every lane.

        Args:
            batch: float images (shared `[n, c, h, w]`, or `[n, lanes * c, h, w]`) and int64 labels (`[n]` shared, or
                `[lanes, n]`).
            streams: one source of randomness per lane; None are the module's own.

        Returns:
            `loss`: scalar, the sum over lanes, so that no lane's gradient depends on another; `losses` and `accuracy`
            `[lanes]`, for reports.
        """
        images, labels = batch
        streams = self.streams if streams is None else streams
        return lane_losses(self.method, self.network, LaneBatch(images, labels, streams))

    def configure_optimizers(self) -> Any:
        return self.optimizer_settings.build(self.network.parameters(), self.lr)
