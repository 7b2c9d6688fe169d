"""What server and nodes must agree on before a round: images, budgets, and the method bound to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitmix.algorithms.algorithm import check_aggregation
from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.config import RunConfig


@dataclass(frozen=True)
class ImageFacts:
    """What a node tells of its images; no image, no path.

    Attributes:
        classes: names of the classes, in the order of their numbers.
        input_shape: channels, height, width.
        n_train, n_val, n_test: number of images by split.
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    n_train: int
    n_val: int
    n_test: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "classes": list(self.classes), "input_shape": list(self.input_shape)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageFacts:
        """The facts in such a dict; ValueError, TypeError or KeyError for anything else."""
        channels, height, width = (int(size) for size in data["input_shape"])
        counts = [int(data[name]) for name in ("n_train", "n_val", "n_test")]
        classes = tuple(str(name) for name in data["classes"])
        if min(counts) < 1 or len(classes) < 2:
            raise ValueError("no images, or fewer than two classes")
        return cls(classes, (channels, height, width), *counts)


def bound_method(config: RunConfig, images: ImageFacts, budgets: Sequence[float]) -> Method:
    """The run's method for these images and the budgets of all clients; the same on the server and on every node."""
    problem = Problem.of(
        images, config.budget, budgets, config.partition.masked_loss, config.train_attack, config.server_optimizer,
        config.aggregation, config.scalars.rounds,
    )  # fmt: skip
    method: Method = config.algorithm.bind(config.model, problem)
    check_aggregation(method)
    return method
