"""Classification losses over lanes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def lane_cross_entropy(logits: Tensor, labels: Tensor, *, masked: bool = False, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy of each lane.

    Args:
        logits: `[lanes, n, classes]`.
        labels: int64 `[lanes, n]`.
        masked: multiply the logits of classes absent from the lane's batch by 0 (they are not removed: each still
            adds exp(0) to the denominator). The loss of label-skewed clients.
        temperature: tau in tau * CE(logits / tau).

    Returns:
        `[lanes]`.
    """
    if masked:
        present = torch.zeros_like(logits[:, 0]).scatter_(1, labels, 1.0)
        logits = logits * present.unsqueeze(1)
    if temperature != 1.0:
        logits = logits / temperature
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return temperature * losses.view(labels.shape).mean(1)
