"""What customised models predict of single images: as much of it as metrics beyond accuracy need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """The predictions of one model, of all widths in the same order. All tensors are `[images]`, on the CPU.

    Attributes:
        client: int64, the number of the client whose test image it is.
        label: int64, the class of the image.
        predicted: int64, the class with the greatest logit.
        own: int64, the same once the logits of classes that the client has no training image of are set to 0.
        confidence: float64, the softmax probability of the predicted class.
        loss: float64, the cross-entropy in nats: minus the logarithm of the probability of the label.
    """

    client: Tensor
    label: Tensor
    predicted: Tensor
    own: Tensor
    confidence: Tensor
    loss: Tensor

    @classmethod
    def of(cls, client: Tensor, label: Tensor, logits: Tensor, present: Tensor | None = None) -> Predictions:
        """From the clients and labels of images, `[n]`, and their logits, `[n, classes]`, on any device.

        Args:
            present: bool `[clients, classes]`, the classes that each client has training images of; None are all.
        """
        logits = logits.detach().cpu().double()
        label, client = label.cpu(), client.cpu()
        predicted, logarithms = logits.argmax(-1), logits.log_softmax(-1)
        chosen, true = (logarithms.gather(-1, index.unsqueeze(-1)).squeeze(-1) for index in (predicted, label))
        own = predicted if present is None else (logits * present[client]).argmax(-1)
        return cls(client, label, predicted, own, chosen.exp(), -true)

    def where(self, mask: Tensor) -> Predictions:
        """Those of the images where a bool `[images]` is true."""
        return Predictions(*(getattr(self, field.name)[mask] for field in fields(self)))


def together(parts: Iterable[Predictions]) -> Predictions:
    """The predictions of several parts as one."""
    each = list(parts)
    return Predictions(*(torch.cat([getattr(part, field.name) for part in each]) for field in fields(Predictions)))


class PredictionLog:
    """Collects the predictions of the models of several widths, batch by batch.

    Args:
        present: as for `Predictions.of`.
    """

    def __init__(self, present: Tensor | None = None) -> None:
        self.present = present
        self.parts: dict[float, list[Predictions]] = {}

    def add(self, width: float, client: Tensor, label: Tensor, logits: Tensor) -> None:
        """Note one batch of one width; arguments as for `Predictions.of`."""
        self.parts.setdefault(width, []).append(Predictions.of(client, label, logits, self.present))

    def by_width(self) -> dict[float, Predictions]:
        """Everything that was noted."""
        return {width: together(parts) for width, parts in self.parts.items()}


def joined(parts: Iterable[tuple[int, Mapping[float, Predictions]]]) -> dict[float, Predictions]:
    """The predictions of several groups of clients as one.

    Args:
        parts: of each group the number of its first client, and its predictions by width, whose clients count from 0.
    """
    log = PredictionLog()
    for first, by_width in parts:
        for width, part in by_width.items():
            values = {field.name: getattr(part, field.name) for field in fields(part)}
            log.parts.setdefault(width, []).append(Predictions(**{**values, "client": part.client + first}))
    return log.by_width()
