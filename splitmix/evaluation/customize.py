"""In-situ customisation: from the server's state to an ordinary module of the asked width."""

from __future__ import annotations

from torch import Tensor

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.client_rows import places
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.errors import UserError
from splitmix.evaluation.customized import CustomizedLanes, CustomizedModel
from splitmix.evaluation.statistics import calibration_batches


def customize(
    method: Method,
    state: ServerState,
    width: float,
    adv_lambda: float = 0.0,
    *,
    client: int | None = None,
    calibration: Tensor | None = None,
) -> CustomizedModel:
    """The customised model of a width, without retraining.

    Args:
        method: gives the state its meaning, such as `Federation.method`.
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
    check_adv_lambda(method, adv_lambda)
    local = state.local
    if client is not None and not local:
        raise UserError(f"client={client}: trained without local batch normalisation, all clients share one model")
    if client is None and local and calibration is None:
        raise UserError("trained with local batch normalisation: say whose model with client=<number>")
    rows = len(next(iter(local.values()))) if local else 0
    clients = rows if state.slots is None else len(state.slots)
    if client is not None and not 0 <= client < clients:
        raise UserError(f"client={client}: give a number from 0 to {clients - 1}")
    [group] = method.mix_groups(state.tensors, [width], state.round)
    lanes = CustomizedLanes(group, adv_lambda, clients=local, estimated=calibration is not None)
    if client is not None:
        lanes.load_client(places(state.slots, [client])[0])
    if calibration is not None:
        if calibration.dim() != 4 or tuple(calibration.shape[1:]) != group.spec.input_shape or len(calibration) < 2:
            raise UserError(
                f"calibration of shape {list(calibration.shape)}: give at least two images of shape"
                f" {list(group.spec.input_shape)}"
            )
        lanes.estimate(calibration_batches(calibration))
    return CustomizedModel(lanes.network).eval()
