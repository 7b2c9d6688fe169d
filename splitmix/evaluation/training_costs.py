"""What a training step costs each client of a configured run: the paper's MACs per batch."""

from __future__ import annotations

from collections.abc import Sequence

from splitmix.algorithms.base import Problem
from splitmix.config import RunConfig
from splitmix.evaluation.cost import lane_cost
from splitmix.evaluation.profile import TRAINING


def training_macs(config: RunConfig, budgets: Sequence[float]) -> dict[float, float]:
    """Multiply-accumulates of one training step of a client, by its budget: 3 x batch x forward, as in the paper, and 2
    x batch x forward for each step of the attack that it trains on.

    Args:
        config: of the run.
        budgets: of all its clients.

    Raises:
        UserError: the dataset's classes cannot be known, or the algorithm does not fit its model.
    """
    masked, attack = config.partition.masked_loss, config.train_attack
    problem = Problem.of(config.dataset, config.budget, budgets, masked, attack, config.server_optimizer)
    method = config.algorithm.bind(config.model, problem)
    return {
        budget: TRAINING
        * config.scalars.batch_size
        * sum(lane_cost(spec)[0] * times for spec, times in method.training_load(budget))
        for budget in sorted(set(budgets))
    }
