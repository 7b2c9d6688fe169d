"""FedAvg + OAT: Wang, Chen, Gui, Hu, Liu, Wang, "Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness
and Accuracy for Free", NeurIPS 2020 (arXiv 2010.11828), federated by averaging: a rival of Hong et al., ICLR 2022.

One model is conditioned on lambda: FiLM after every batch normalisation, which has one branch for lambda = 0 and one
for the rest. Every batch, or every image, draws a lambda and minimises (1 - lambda) CE(clean) + lambda CE(attacked at
that lambda). See also `splitmix.models.film_norms.FilmBatchNorm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from splitmix.algorithms.adversarial import (
    IN_SITU,
    adversarial_objective,
    check_draws,
    check_train_attack,
    dual_notes,
    step_cost,
)
from splitmix.algorithms.base import LaneBatch, Objective, Problem, accuracy
from splitmix.algorithms.fedavg import FedAvgMethod, check_width
from splitmix.algorithms.objectives import image_cross_entropy
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, Model, NetworkSpec
from splitmix.on_device import on_device
from splitmix.robustness.lanes import attack_lanes


@dataclass(frozen=True)
class FedAvgOAT:
    """Settings of `algorithm=fedavg_oat`.

    Attributes:
        width: width of the network that every client trains.
        lambdas: what lambda is drawn from; 0 and at least one value above it.
        draw: `batch`: one lambda for a batch, as Hong et al. word it, so that the clean branch learns in one batch of
            six; `image`: one for every image, of which the first sixth has lambda 0, as in OAT's authors' code.

    Where we differ from the authors' code (VITA-Group/Once-for-All-Adversarial-Training: OAT.py, FiLM.py): it draws by
    image. Its FiLM sees a random code of lambda and has two units per channel.
    """

    name: ClassVar[str] = "fedavg_oat"
    label: ClassVar[str] = "FedAvg+OAT"
    loss_temperature: ClassVar[None] = None

    width: float = 1.0
    lambdas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
    draw: str = "batch"

    def bind(self, model: Model, problem: Problem) -> FedAvgOATMethod:
        """Check the settings against the model and the problem (UserError)."""
        check_width(self.width)
        check_draws(self.draw)
        if 0 not in self.lambdas or not any(self.lambdas) or not all(0 <= value <= 1 for value in self.lambdas):
            raise UserError(
                f"algorithm.lambdas={list(self.lambdas)}: give values from 0 to 1, 0 among them and one above it"
            )
        check_train_attack(problem, f"algorithm={self.name}")
        model.check(problem.input_shape, self.width)
        return FedAvgOATMethod(self, model, problem)


@dataclass(frozen=True)
class FedAvgOATMethod(FedAvgMethod):
    """FedAvg + OAT bound to a model and a problem (see `splitmix.algorithms.method.Method`)."""

    @cached_property
    def spec(self) -> NetworkSpec:
        """The network."""
        return NetworkSpec(
            self.model,
            self.settings.width,
            self.problem.input_shape,
            self.problem.classes,
            bn=self.model.bn,
            norm="film",
        )

    @property
    def adversarial(self) -> bool:
        return True

    @property
    def adv_lambdas(self) -> tuple[float, ...]:
        return IN_SITU

    @property
    def ra_weight(self) -> float:
        return 0.5

    @property
    def notes(self) -> list[str]:
        return dual_notes(self.spec, ())

    @property
    def step_cost(self) -> float:
        return step_cost(self.problem, 0.5)

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        if self.settings.draw == "image":
            return self.objective_by_image(network, batch)
        drawn = [stream.choice(self.settings.lambdas) for stream in batch.streams]
        level = on_device(torch.tensor(drawn, dtype=batch.images.dtype), batch.images.device)
        return adversarial_objective(
            network, batch, self.problem, level, levels=(level, level), attacked_statistics=level > 0
        )

    def objective_by_image(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        """A lambda for every image, zeros first; images of lambda 0 are not attacked."""
        n, masked = batch.labels.shape[1], self.problem.masked_loss
        positive = [value for value in self.settings.lambdas if value > 0]
        # A branch cannot normalise a single image; all images of a small last batch draw a positive lambda.
        zeros = max(2, math.ceil(n / len(self.settings.lambdas)))
        zeros = zeros if n - zeros >= 2 else 0
        drawn = [[0.0] * zeros + stream.choice(positive, n - zeros).tolist() for stream in batch.streams]
        on_host = torch.tensor(drawn, dtype=batch.images.dtype)
        level = on_device(on_host, batch.images.device)  # [lanes, n]
        network.set_adv_lambda(on_host.T)
        logits = network(batch.images)
        losses = image_cross_entropy(logits, batch.labels, masked=masked) * (1 - level)
        right = accuracy(logits, batch.labels)
        labels, weight = batch.labels[:, zeros:], level[:, zeros:]
        network.set_adv_lambda(on_host[:, zeros:].T)
        logits = network(attack_lanes(network, batch.images[zeros:], labels, self.problem.attack, batch.streams))
        robust = image_cross_entropy(logits, labels, masked=masked) * weight
        right = (right + accuracy(logits, labels)) / 2
        loss = torch.cat([losses[:, :zeros], losses[:, zeros:] + robust], 1).mean(1)
        return Objective(loss, loss.detach(), right)
