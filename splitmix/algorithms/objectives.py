"""Classification losses over lanes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmix.binding import shown
from splitmix.errors import UserError


def check_temperature(temperature: float | str | None) -> None:
    """Raise UserError unless it is a number above 0 and up to 1000, `auto` or None."""
    if isinstance(temperature, str) and temperature != "auto":
        raise UserError(f"algorithm.loss_temperature={temperature}: give a number above 0, auto or null")
    if isinstance(temperature, int | float) and not 0 < temperature <= 1000:
        raise UserError(
            f"algorithm.loss_temperature={shown(temperature)}: give a number above 0 and up to 1000, auto or null"
        )


def temperature_of(temperature: float | str | None, width: float) -> float:
    """tau of the training loss of a model of this width."""
    if temperature is None:
        return 1.0
    return width if isinstance(temperature, str) else temperature


def lane_cross_entropy(logits: Tensor, labels: Tensor, *, masked: bool = False, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy of each lane, `[lanes]`; see `image_cross_entropy`."""
    return image_cross_entropy(logits, labels, masked=masked, temperature=temperature).mean(1)


def image_cross_entropy(logits: Tensor, labels: Tensor, *, masked: bool = False, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of each image.

    Args:
        logits: `[lanes, n, classes]`.
        labels: int64 `[lanes, n]`.
        masked: multiply the logits of classes absent from the lane's batch by 0 (they are not removed: each still
            adds exp(0) to the denominator). The loss of label-skewed clients.
        temperature: tau in tau * CE(logits / tau).

    Returns:
        `[lanes, n]`.
    """
    if masked:
        present = torch.zeros_like(logits[:, 0]).scatter_(1, labels, 1.0)
        logits = logits * present.unsqueeze(1)
    if temperature != 1.0:
        logits = logits / temperature
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return temperature * losses.view(labels.shape)
