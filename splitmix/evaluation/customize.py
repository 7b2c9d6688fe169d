"""In-situ customisation: from the server's state to an ordinary module of the asked width."""

from __future__ import annotations

from torch import Tensor, nn

from splitmix.algorithms.base import ServerState, check_adv_lambda
from splitmix.data.dataset import to_float
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import group_network, local_entries
from splitmix.evaluation.statistics import calibration_batches, estimate_statistics
from splitmix.models.network import LaneNetwork


class CustomizedModel(nn.Module):
    """The mean of the logits of some base models, as one grouped network.

    Args:
        network: the base models.

    Attributes:
        needs_batch: some batch normalisation takes its statistics from the batch at hand.
    """

    def __init__(self, network: LaneNetwork):
        super().__init__()
        self.network = network
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
        logits: Tensor = self.network(images)
        return logits.mean(0)


def customize(
    state: ServerState,
    width: float,
    adv_lambda: float = 0.0,
    *,
    client: int | None = None,
    calibration: Tensor | None = None,
) -> CustomizedModel:
    """The customised model of a width, without retraining.

    Args:
        state: a trained server state.
        width: a width that the method can give.
        adv_lambda: level of robustness, the weight of the adversarial batch normalisation, in [0, 1]; both branches
            are folded into one, exactly. Other than 0 needs a run trained with dual batch normalisation.
        client: number of the client whose own batch normalisation is taken; only after training with BN mode
            `local`, and needed then unless there are `calibration` images.
        calibration: uint8 or float [0, 1] images `[n, channels, h, w]`, n >= 2, such as
            `Federation.calibration_images()`. They fix the batch-normalisation statistics (averages over batches of
            up to 128 images, in order), so that a prediction no longer depends on its batch and a batch of one works.
            Take them from all clients and mix them well: images of one domain give statistics of that domain.

    Returns:
        A module in eval mode: float images `[n, channels, h, w]` in [0, 1] to logits `[n, classes]`.

    Raises:
        UserError: a width that the method cannot give, `adv_lambda` or `client` for a model that has neither, fewer
            than two calibration images or of another shape.
    """
    check_adv_lambda(state.method, adv_lambda)
    if client is not None and not state.local:
        raise UserError(f"client={client}: trained without local batch normalisation, all clients share one model")
    if client is None and state.local and calibration is None:
        raise UserError("trained with local batch normalisation: say whose model with client=<number>")
    clients = len(next(iter(state.local.values()))) if state.local else 0
    if client is not None and not 0 <= client < clients:
        raise UserError(f"client={client}: give a number from 0 to {clients - 1}")
    [group] = state.method.mix_groups(state.tensors, [width])
    network = group_network(group, adv_lambda, tracked=calibration is not None)
    if client is not None:
        client_entries = local_entries(group, state.local, adv_lambda, tracked=calibration is not None)
        network.load_entries({name: value[client] for name, value in client_entries.items()})
    if calibration is not None:
        if calibration.dim() != 4 or tuple(calibration.shape[1:]) != group.spec.input_shape or len(calibration) < 2:
            raise UserError(
                f"calibration of shape {list(calibration.shape)}: give at least two images of shape"
                f" {list(group.spec.input_shape)}"
            )
        estimate_statistics(network, (to_float(images) for images in calibration_batches(calibration)))
    return CustomizedModel(network).eval()
