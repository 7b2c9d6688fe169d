"""FedProx: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks", MLSys 2020
(arXiv 1812.06127): FedAvg whose clients pay for moving away from the server's model.

A client minimises its loss + mu / 2 ||w - w_server||^2 over all trained parameters. mu = 0 is FedAvg.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from splitmix.algorithms.base import LaneBatch, Objective, Problem
from splitmix.algorithms.fedavg import FedAvg, FedAvgMethod
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, Model


@dataclass(frozen=True)
class FedProx(FedAvg):
    """Settings of `algorithm=fedprox`.

    Attributes:
        width, loss_temperature, adv_lambda: as for FedAvg.
        mu: weight of the proximal term, 0 or more.
    """

    name: ClassVar[str] = "fedprox"

    mu: float = 0.01

    @property
    def label(self) -> str:
        return f"FedProx (μ={self.mu:g})"

    def bind(self, model: Model, problem: Problem) -> FedProxMethod:
        """Check the settings against the model and the problem (UserError)."""
        if not 0 <= self.mu <= 1e6:
            raise UserError(f"algorithm.mu={shown(self.mu)}: give a weight from 0 to 1e6")
        self.check(model, problem)
        return FedProxMethod(self, model, problem)


@dataclass(frozen=True)
class FedProxMethod(FedAvgMethod):
    """FedProx bound to a model and a problem (see `splitmix.algorithms.method.Method`)."""

    settings: FedProx
    uses_start: ClassVar[bool] = True

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        plain = super().objective(network, batch)
        squares = [(value - batch.start[name]).flatten(1).square().sum(1) for name, value in network.named_parameters()]
        return replace(plain, loss=plain.loss + self.settings.mu / 2 * torch.stack(squares).sum(0))
