"""CalFAT: Chen, Liu, Ma, Lyu, "CalFAT: Calibrated Federated Adversarial Training with Label Skewness", NeurIPS 2022
(arXiv 2205.14926); the authors' code is cc233/CalFAT, fat.py and utils.py.

FedAvg whose clients train on attacked images alone. Of each class that a client has n images of, log n / s is added to
the logit, in the attack and in the loss CE(s * logits): so a class that a client hardly has is not unlearned there. A
class without images counts as one image. The server's model is used without what was added.

Its loss stands in the place of the masked one that label-skewed partitions have here with other methods.

Where we differ: clients weigh by their images, where the authors' clients weigh alike. Their attack is
`train_attack=kl_pgd`; ours is what `train_attack` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from splitmix.algorithms.base import LaneBatch, Objective, Problem
from splitmix.algorithms.fedavg import FedAvg, FedAvgMethod
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, Model
from splitmix.robustness.lanes import attack_lanes


@dataclass(frozen=True)
class CalFAT(FedAvg):
    """Settings of `algorithm=calfat`.

    Attributes:
        width: as for FedAvg.
        adv_lambda: 1, since there are no clean images in the loss.
        loss_temperature: None.
        scale: s, which multiplies the logits in the loss and divides what is added to them; above 0. The authors take
            10.
    """

    name: ClassVar[str] = "calfat"

    adv_lambda: float = 1.0
    scale: float = 10.0

    @property
    def label(self) -> str:
        return "CalFAT"

    def bind(self, model: Model, problem: Problem) -> CalFATMethod:
        """Check the settings against the model and the problem (UserError)."""
        if self.adv_lambda != 1:
            raise UserError(
                f"algorithm.adv_lambda={shown(self.adv_lambda)}: CalFAT trains on attacked images alone; use 1, or"
                " algorithm=fedavg"
            )
        if not 0 < self.scale <= 1000:
            raise UserError(f"algorithm.scale={shown(self.scale)}: give a number above 0 and up to 1000")
        self.check(model, problem)
        return CalFATMethod(self, model, problem)


@dataclass(frozen=True)
class CalFATMethod(FedAvgMethod):
    """CalFAT bound to a model and a problem (see `splitmix.algorithms.method.Method`)."""

    settings: CalFAT

    @property
    def uses_classes(self) -> bool:
        return True

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        scale = self.settings.scale
        added: Tensor = batch.class_counts.clamp(min=1).log() / scale
        moved = attack_lanes(network, batch.images, batch.labels, self.problem.attack, batch.streams, added)
        logits = network(moved)
        losses = lane_cross_entropy(scale * (logits + added.unsqueeze(1)), batch.labels)
        return Objective.of(losses, logits, batch.labels)
