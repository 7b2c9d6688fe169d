"""SHeteroFL: HeteroFL with slimmable training (Yu et al., "Slimmable Neural Networks", ICLR 2019), the rival of Hong et
al., ICLR 2022.

A client sums, in every step, the gradients of all candidate widths up to its budget, then takes one optimizer step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from splitmix.algorithms.base import LaneBatch, Objective, Problem, accuracy
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.algorithms.slices import SliceMethod, bound, check_weighting, forward_slices
from splitmix.algorithms.values import Aggregate, Update
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, Model, NetworkSpec
from splitmix.widths import TOLERANCE, distinct

WEIGHTINGS = ("samples", "widths")


@dataclass(frozen=True)
class SHeteroFL:
    """Settings of `algorithm=sheterofl`.

    Attributes:
        rescale_layer: divide the outputs of sliced layers by the slice's width while training.
        duplicates: a width that stands several times among the budgets counts so often in the sum of gradients, as
            in the authors' code; by default each counts once.
        candidates: widths to train; None are the budgets.
        weighting: `samples`: a client weighs as many as its training samples in the average; `widths`: that times the
            number of candidate widths that it trained, as in the authors' script.

    Where we differ from the authors' code (illidanlab/SplitMix: fed_hfl.py, federated/core.py) by default: it adds a
    client once per candidate width, and lets a width that is listed twice count twice. Both are options.
    """

    name: ClassVar[str] = "sheterofl"
    label: ClassVar[str] = "SHeteroFL"

    rescale_layer: bool = True
    duplicates: bool = False
    candidates: tuple[float, ...] | None = None
    weighting: str = "samples"

    def bind(self, model: Model, problem: Problem) -> SliceMethod:
        """Check the settings against the model and the problem.

        Raises:
            UserError: a candidate width outside (0, 1] or none that the smallest budget can train, another weighting.
        """
        check_weighting(self.weighting, WEIGHTINGS)
        for width in self.candidates or ():
            if not 0 < width <= 1:
                raise UserError(f"algorithm.candidates has {shown(width)}: give widths above 0 and up to 1")
        if self.candidates is not None and min(self.candidates, default=2.0) > min(problem.budgets) + TOLERANCE:
            raise UserError(
                f"algorithm.candidates={shown(self.candidates)}: clients of budget {min(problem.budgets):g} could train"
                " none of them; add a width up to that"
            )
        model.check(problem.input_shape, min(self.candidates or problem.budgets))
        return bound(SHeteroFLMethod, self, model, problem)


@dataclass(frozen=True)
class SHeteroFLMethod(SliceMethod):
    """SHeteroFL bound to a model and a problem."""

    settings: SHeteroFL

    @property
    def counted(self) -> Counter[float]:
        """How often each candidate width counts in the sum of gradients."""
        if self.settings.candidates is not None:
            candidates = distinct(self.settings.candidates, self.problem.budget_widths)
            return Counter(width for width in candidates if width <= self.problem.full_width)
        if self.settings.duplicates:
            return Counter(self.problem.budget_widths)
        return Counter(set(self.problem.budget_widths))

    @property
    def candidates(self) -> tuple[float, ...]:
        return tuple(sorted(self.counted))

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        widths = [width for width in self.candidates if width <= network.spec.width]
        counts = [self.counted[width] for width in sorted(widths, reverse=True)]
        losses, accuracies = [], []
        for _, logits in forward_slices(dict(network.named_parameters()), network.spec, widths, batch.images):
            losses.append(lane_cross_entropy(logits, batch.labels, masked=self.problem.masked_loss))
            accuracies.append(accuracy(logits, batch.labels))
        loss, right = (
            torch.stack([count * value for count, value in zip(counts, values, strict=True)]).sum(0)
            for values in (losses, accuracies)
        )
        return Objective(loss, loss.detach() / sum(counts), right / sum(counts))

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        if self.settings.weighting == "widths":
            width = update.task.spec.width
            trained = sum(count for candidate, count in self.counted.items() if candidate <= width)
            update = replace(update, weight=trained * update.weight)
        return super().accumulate(aggregate, update)

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        return [(self.spec(width), float(count)) for width, count in self.counted.items() if width <= budget]
