"""The uploads that an attacker may see, as functions of the unknown images: the three threats.

`image`: one step on one image. `batch`: one step on a batch whose other images the attacker knows. `upload`: what a
client really sends after several local steps. Labels, order and the server's model are known in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from splitmix.engine.optimizers import CLIP_EPS
from splitmix.leakage.jacobian import Upload
from splitmix.models.network import Tensors

Loss = Callable[[Tensors, Tensor, Tensor], Tensor]
"""The client's mean loss as a function of parameters, images and labels."""


@dataclass(frozen=True)
class LocalSteps:
    """How a client steps: SGD as PyTorch has it, momentum from zero, decay on all parameters.

    Attributes:
        lr: learning rate, above 0.
        momentum, weight_decay: of SGD.
        clip_norm: largest norm of a gradient, before decay; None does not clip.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None


def gradient_upload(loss: Loss, parameters: Tensors, labels: Tensor) -> Upload:
    """The gradient of one batch.

    After one step, (w0 - w1) / lr - weight_decay * w0 is this gradient, so that it is what a client of one step gives
    away.
    """
    gradient: Any = grad(loss)
    return lambda images: gradient(parameters, images, labels)


def local_upload(
    loss: Loss, parameters: Tensors, batches: Sequence[Sequence[int]], labels: Tensor, steps: LocalSteps
) -> Upload:
    """(w0 - wT) / lr after a step on each batch, through all of them.

    It is no mean gradient: the gradient of step t (of T, from 0) weighs (1 - momentum^(T-t)) / (1 - momentum), and
    later gradients are taken at weights that earlier images have moved.

    Args:
        batches: the rows of each step's images.
        labels: of all rows.
    """
    gradient: Any = grad(loss)

    def upload(images: Tensor) -> Tensors:
        weights = dict(parameters)
        moment = {name: torch.zeros_like(value) for name, value in weights.items()}
        for batch in batches:
            rows = list(batch)
            step = clipped(gradient(weights, images[rows], labels[rows]), steps.clip_norm)
            moment = {
                name: steps.momentum * value + step[name] + steps.weight_decay * weights[name]
                for name, value in moment.items()
            }
            weights = {name: value - steps.lr * moment[name] for name, value in weights.items()}
        return {name: (value - weights[name]) / steps.lr for name, value in parameters.items()}

    return upload


def clipped(gradient: Tensors, clip_norm: float | None) -> Tensors:
    """The gradient of one lane, scaled down to this norm where it is longer."""
    if clip_norm is None:
        return gradient
    norm = torch.stack([value.square().sum() for value in gradient.values()]).sum().sqrt()
    scale = (clip_norm / (norm + CLIP_EPS)).clamp(max=1.0)
    return {name: value * scale for name, value in gradient.items()}


def others_known(upload: Upload, images: Tensor, position: int) -> Upload:
    """The upload as a function of one image of a batch `[1, c, h, w]`, the others being known."""
    before, after = images[:position], images[position + 1 :]
    return lambda unknown: upload(torch.cat([before, unknown, after]))


def side_by_side(uploads: Sequence[Upload]) -> Upload:
    """Several base models' uploads of the same images, together."""
    return lambda images: {
        f"{number}.{name}": value for number, upload in enumerate(uploads) for name, value in upload(images).items()
    }


def uploaded_part(upload: Upload, kept: frozenset[str]) -> Upload:
    """The upload without the entries that stay with the client."""
    if not kept:
        return upload
    return lambda images: {name: value for name, value in upload(images).items() if name not in kept}
