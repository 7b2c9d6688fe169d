"""What a method is given and gives back, beside the values that travel: the problem, a batch, an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from splitmix.algorithms.aggregation import Aggregation, Mean
from splitmix.algorithms.malicious import Honest
from splitmix.algorithms.server_optimizers import NoServerOptimizer, ServerOptimizer
from splitmix.errors import UserError
from splitmix.models.network import NetworkSpec, Tensors
from splitmix.randomness import rng
from splitmix.robustness.attacks import Attack, LinfPGD
from splitmix.widths import TOLERANCE

Streams = Sequence[np.random.Generator]


class ImageShapes(Protocol):
    """What a dataset, or the settings of one, must tell."""

    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    @property
    def classes(self) -> Sequence[str]: ...


class Budget(Protocol):
    """What the settings of budgets must tell."""

    @property
    def redraw(self) -> str:
        """Whether clients keep their budgets, `never`, or get new ones in every `round`."""
        ...

    def listed(self) -> tuple[float, ...]:
        """The widths that the user listed."""
        ...


@dataclass(frozen=True)
class Problem:
    """What a federation has to learn, as far as a method needs to know.

    Attributes:
        input_shape: channels, height, width of an image.
        classes: number of classes.
        budgets: largest width that each client can train, in client order.
        masked_loss: label-skewed data: the loss ignores the classes absent from the batch.
        listed: the widths of the budgets as the user listed them, duplicates too; () are those that clients have.
        attack: what adversarial training attacks with.
        server_optimizer: how the server steps towards the average of the updates.
        redrawn: every client draws its budget anew each round, among those of all clients.
        aggregation: what takes the place of that average.
        rounds: how many rounds the federation trains for.
        malicious: which clients lie, and how.
    """

    input_shape: tuple[int, int, int]
    classes: int
    budgets: tuple[float, ...]
    masked_loss: bool = False
    listed: tuple[float, ...] = ()
    attack: Attack = field(default_factory=LinfPGD)
    server_optimizer: ServerOptimizer = field(default_factory=NoServerOptimizer)
    redrawn: bool = False
    aggregation: Aggregation = field(default_factory=Mean)
    rounds: int = 25
    malicious: Honest = field(default_factory=Honest)

    @classmethod
    def of(
        cls,
        dataset: ImageShapes,
        budget: Budget,
        budgets: Sequence[float],
        masked_loss: bool,
        attack: Attack,
        server_optimizer: ServerOptimizer,
        aggregation: Aggregation | None = None,
        rounds: int = 25,
        malicious: Honest | None = None,
    ) -> Problem:
        """The problem of a federation made of these components.

        Args:
            budget: the rule by which clients got their budgets.
            budgets: of all clients.
        """
        classes = len(dataset.classes)
        shape, listed = dataset.input_shape, budget.listed()
        redrawn = budget.redraw == "round"
        return cls(
            shape,
            classes,
            tuple(budgets),
            masked_loss,
            listed,
            attack,
            server_optimizer,
            redrawn,
            aggregation or Mean(),
            rounds,
            malicious or Honest(),
        )

    def budget(self, client: int, round_index: int, seed: int) -> float:
        """The largest width that a client can train in a round, by its number and the seed of the federation."""
        if not self.redrawn:
            return self.budgets[client]
        return self.budgets[int(rng(seed, "budget", round_index, client).integers(len(self.budgets)))]

    def lies(self, client: int, base_model: int, seed: int) -> bool:
        """Whether a client poisons a base model that it trains, by its number and the seed of the federation."""
        return self.malicious.poisons(client, base_model, len(self.budgets), seed)

    def check_width(self, width: float, algorithm: str) -> None:
        """Raise UserError unless a network that holds every narrower one gives this width: up to the largest budget."""
        if not 0 < width <= self.full_width + TOLERANCE:
            raise UserError(
                f"width {width:g}: algorithm={algorithm} gives widths above 0 and up to the largest budget,"
                f" {self.full_width:g}"
            )

    @cached_property
    def budget_widths(self) -> tuple[float, ...]:
        """The widths of the budgets, ascending, as often as they were listed."""
        return tuple(sorted(self.listed or set(self.budgets)))

    @cached_property
    def full_width(self) -> float:
        """The width of the whole network: the largest budget."""
        return max(self.budgets)


@dataclass(frozen=True)
class MixGroup:
    """Lanes evaluated in one pass: the prediction at a width is the mean of the logits of the first so many lanes.

    Attributes:
        spec: the network of each lane.
        tensors: the lanes.
        sizes: number of lanes mixed, by width.
    """

    spec: NetworkSpec
    tensors: Tensors
    sizes: dict[float, int]


@dataclass(frozen=True)
class LaneBatch:
    """One batch of every lane, with what the client objective may need to know of each lane.

    Attributes:
        images: float in [0, 1], shared or per lane (see `LaneNetwork`).
        labels: int64 `[lanes, n]`.
        streams: one source of randomness per lane, its own in this round.
        clients: the client of each lane.
        budgets: the largest width that each lane's client can train.
        start: parameters that each lane started the round from, `[lanes, ...]`; only where `Method.uses_start`.
        context: what `ClientTask.context` holds, `[lanes, ...]`.
        memory: what the lanes' clients remember beside entries of the model, `[lanes, ...]`.
        class_counts: float `[lanes, classes]`, how many images of each class the lane trains on in this round; only
            where `Method.uses_classes`.
    """

    images: Tensor
    labels: Tensor
    streams: Streams
    clients: tuple[int, ...] = ()
    budgets: tuple[float, ...] = ()
    start: Tensors = field(default_factory=dict)
    context: Tensors = field(default_factory=dict)
    memory: Tensors = field(default_factory=dict)
    class_counts: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def present(self) -> Tensor:
        """1 for the classes among these images, 0 for the others; shaped as `class_counts`."""
        return (self.class_counts > 0).to(self.class_counts.dtype)


@dataclass(frozen=True)
class Objective:
    """What the client objective computed on one batch of every lane.

    Attributes:
        loss: `[lanes]`, to be minimised.
        mean_loss: `[lanes]`, detached, the mean over the lane's models: what is reported.
        accuracy: `[lanes]`, the share of right predictions, in [0, 1].
    """

    loss: Tensor
    mean_loss: Tensor
    accuracy: Tensor

    @classmethod
    def of(cls, losses: Tensor, logits: Tensor, labels: Tensor) -> Objective:
        """The objective of lanes that are one model each: losses `[lanes]`, logits `[lanes, n, classes]`."""
        return cls(losses, losses.detach(), accuracy(logits, labels))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of right predictions `[lanes]` of logits `[lanes, n, classes]` for labels `[lanes, n]`."""
    return (logits.detach().argmax(-1) == labels).float().mean(-1)


@dataclass(frozen=True)
class LocalTraining:
    """How a client has trained its lanes.

    Attributes:
        lr: learning rate of the round.
        steps: optimizer steps, the same number for each of the client's lanes.
        class_counts: float `[classes]`, how many images of each class it trained on; only where
            `Method.uses_classes`.
    """

    lr: float
    steps: int
    class_counts: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def present(self) -> Tensor:
        """1 for the classes among these images, 0 for the others; shaped as `class_counts`."""
        return (self.class_counts > 0).to(self.class_counts.dtype)


@dataclass(frozen=True)
class ClientResult:
    """What a client makes of its trained lanes.

    Attributes:
        tensors, extras: what it uploads (see `Update`).
        memory: what it remembers for its lanes, `[lanes, ...]`.
    """

    tensors: Tensors
    extras: Tensors = field(default_factory=dict)
    memory: Tensors = field(default_factory=dict)
