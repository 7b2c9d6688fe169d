"""Attacking all lanes of a network in one call: every lane's images against that lane alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from splitmix.models.network import LaneNetwork
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws


def attack_lanes(
    network: LaneNetwork,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    streams: Sequence[np.random.Generator],
    added: Tensor | None = None,
) -> Tensor:
    """Attack in eval mode and without parameter gradients, as the network's lambda says.

    Args:
        images: float in [0, 1], `[n, c, h, w]` shared by all lanes or `[n, lanes * c, h, w]`.
        labels: int64 `[lanes, n]`.
        streams: one source of randomness per lane.
        added: to the logits of each lane, `[lanes, classes]`; None adds nothing.

    Returns:
        `[n, lanes * c, h, w]`, channels last.
    """
    lanes, channels = network.lanes, network.spec.input_shape[0]
    n = len(images)
    if images.shape[1] == channels:
        of_lanes = images.repeat(lanes, 1, 1, 1)
    else:
        of_lanes = images.unflatten(1, (lanes, channels)).transpose(0, 1).flatten(0, 1)

    def classifier(side_by_side: Tensor) -> Tensor:
        logits: Tensor = network(folded_images(side_by_side, lanes))
        return (logits if added is None else logits + added.unsqueeze(1)).flatten(0, 1)

    draws = Draws(streams, [n] * lanes)
    with frozen(network):
        changed = attack.perturb_pixels(classifier, of_lanes.contiguous(), labels.flatten(), draws)
    return folded_images(changed, lanes)


def folded_images(images: Tensor, lanes: int) -> Tensor:
    """`[lanes * n, c, h, w]` to `[n, lanes * c, h, w]` in channels-last layout: the layout that convolutions like."""
    return images.unflatten(0, (lanes, -1)).permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)


@contextmanager
def frozen(network: LaneNetwork) -> Iterator[None]:
    """Eval mode, and no gradients of the parameters, for a while."""
    training = network.training
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        network.train(training)
        for parameter in parameters:
            parameter.requires_grad_(True)
