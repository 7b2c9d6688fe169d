"""The client's side of a round as a LightningModule: lanes in training, with width and lambda switches."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.base import LaneBatch, MixGroup, Streams
from splitmix.algorithms.method import Method
from splitmix.engine.lane_trainer import lane_losses
from splitmix.engine.optimizers import SGD, Adam
from splitmix.errors import UserError
from splitmix.evaluation.customized import CustomizedLanes
from splitmix.models.network import LaneNetwork
from splitmix.randomness import rng


class ClientModule(LightningModule):
    """Wraps a network over lanes.

    `training_step` is the client objective of the method; `forward` is the model customised to `set_width` and
    `set_adv_lambda`. A stock `Trainer` and the federation loop both drive it.

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
        self.width: float | None = None
        self.adv_lambda = 0.0
        self.streams = [rng(0, "objective", lane) for lane in range(network.lanes)]

    def set_width(self, width: float) -> None:
        """Customise `forward` to this width. Raises UserError if the method or this module cannot give it."""
        spec = self.method.network(width)
        [group] = self.method.mix_groups(self.network.lane_tensors(), [width])
        network_spec = self.network.spec
        if group.sizes[width] > self.network.lanes or not network_spec.holds(spec):
            raise UserError(f"width {width:g}: this client holds {self.network.lanes} x {network_spec.label}")
        self.width = width

    def set_adv_lambda(self, adv_lambda: float) -> None:
        """Lean on the adversarial batch normalisation by `adv_lambda` in [0, 1].

        Raises:
            UserError: out of range, or other than 0 for a network without dual batch normalisation.
        """
        check_adv_lambda(self.method, adv_lambda)
        self.adv_lambda = adv_lambda

    def forward(self, images: Tensor) -> Tensor:
        """Float images `[n, channels, h, w]` in [0, 1] to logits `[n, classes]` of the customised model.

        Without `set_width` all lanes are mixed. The model is that of `customize`, of this client's lanes.
        """
        tensors = self.network.lane_tensors()
        if self.width is None:
            group = MixGroup(self.network.spec, tensors, {1.0: self.network.lanes})
        else:
            [group] = self.method.mix_groups(tensors, [self.width])
        lanes = CustomizedLanes(group, self.adv_lambda, device=images.device, dtype=images.dtype)
        [width] = group.sizes
        logits: Tensor = lanes.model(width)(images)
        return logits

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
