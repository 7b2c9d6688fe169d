"""FjORD: Horváth, Laskaridis, Almeida, Leontiadis, Venieris, Lane, "FjORD: Fair and Accurate Federated Learning under
heterogeneous targets with Ordered Dropout", NeurIPS 2021 (arXiv 2102.13451).

One full network; in every step a client draws one of the widths up to its budget and trains the first channels of that
width. With self-distillation it also trains the slice of its whole budget, which then teaches the narrower one.
Batch statistics instead of the paper's separate batch normalisation per width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmix.algorithms.base import LaneBatch, Objective, Problem, accuracy
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.algorithms.slices import SliceMethod, bound, forward_slices
from splitmix.models.network import LaneNetwork, Model, NetworkSpec, Tensors


@dataclass(frozen=True)
class FjORD:
    """Settings of `algorithm=fjord`.

    Attributes:
        self_distillation: also train the slice of the whole budget in every step and let it teach the drawn one.
        rescale_layer: divide the outputs of sliced layers by the slice's width while training (not in the paper).

    Where we differ from the authors' code (adap/flower: baselines/fjord): it keeps running statistics of batch
    normalisation for every width, where we take those of the batch; it always distils; it trains widths 0.2, 0.4, … 1
    with momentum 0 and weight decay 1e-4.
    """

    name: ClassVar[str] = "fjord"
    label: ClassVar[str] = "FjORD"

    self_distillation: bool = False
    rescale_layer: bool = False

    def bind(self, model: Model, problem: Problem) -> SliceMethod:
        """Check the settings against the model and the problem (UserError)."""
        return bound(FjORDMethod, self, model, problem)


@dataclass(frozen=True)
class FjORDMethod(SliceMethod):
    """FjORD bound to a model and a problem."""

    settings: FjORD

    def choices(self, budget: float) -> list[float]:
        """Widths that a client of this budget draws from, all equally likely."""
        return [width for width in self.candidates if width <= budget] or [budget]

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        choices = self.choices(network.spec.width)
        drawn = [choices[int(stream.integers(len(choices)))] for stream in batch.streams]
        parts = {name: value.split(1) for name, value in network.named_parameters()}
        lanes = [
            self.lane_objective({name: part[lane] for name, part in parts.items()}, network.spec, width, images, labels)
            for lane, (width, images, labels) in enumerate(
                zip(drawn, lane_images(batch.images, network), batch.labels.split(1), strict=True)
            )
        ]
        return Objective(*(torch.cat(values) for values in zip(*lanes, strict=True)))

    def lane_objective(
        self, tensors: Tensors, spec: NetworkSpec, width: float, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, reported loss and accuracy, each `[1]`, of one lane that drew this width."""
        widths = {width, spec.width} if self.settings.self_distillation else {width}
        logits = dict(forward_slices(tensors, spec, widths, images))
        narrow = logits[width]
        loss = lane_cross_entropy(narrow, labels, masked=self.problem.masked_loss)
        reported = loss.detach()
        if len(widths) == 2:
            teacher = logits[spec.width]
            hard = lane_cross_entropy(teacher, labels, masked=self.problem.masked_loss)
            soft = F.kl_div(narrow.log_softmax(-1), teacher.detach().log_softmax(-1), reduction="none", log_target=True)
            loss = hard + soft.sum(-1).mean(-1)
        return loss, reported, accuracy(narrow, labels)

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        choices = self.choices(budget)
        load = [(self.spec(width), 1 / len(choices)) for width in choices]
        if self.settings.self_distillation:
            load.append((self.spec(budget), 1 - 1 / len(choices)))
        return load


def lane_images(images: Tensor, network: LaneNetwork) -> Sequence[Tensor]:
    """Every lane's own images, of shared or folded ones."""
    channels = network.spec.input_shape[0]
    return [images] * network.lanes if images.shape[1] == channels else images.split(channels, 1)
