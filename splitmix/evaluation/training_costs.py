"""What a training step costs each client of a configured run: the paper's MACs per batch, and memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.config import RunConfig
from splitmix.evaluation.cost import lane_cost
from splitmix.evaluation.profile import TRAINING
from splitmix.models.kept_tensors import KeptTensors
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.unpacked import unstack
from splitmix.payload import payload_bytes
from splitmix.randomness import rng

FEW = (2, 4)
"""Images of two forward passes, whose difference is what an image keeps."""


def training_macs(config: RunConfig, budgets: Sequence[float]) -> dict[float, float]:
    """Multiply-accumulates of one training step of a client, by its budget: 3 x batch x forward, as in the paper, and 2
    x batch x forward for each step of the attack that it trains on.

    Args:
        config: of the run.
        budgets: of all its clients.

    Raises:
        UserError: the dataset's classes cannot be known, or the algorithm does not fit its model.
    """
    method = method_of(config, budgets)
    return {
        budget: TRAINING
        * config.scalars.batch_size
        * sum(lane_cost(spec)[0] * times for spec, times in method.training_load(budget))
        for budget in sorted(set(budgets))
    }


def training_memory(config: RunConfig, budgets: Sequence[float]) -> dict[float, int]:
    """Bytes that a training step of a client needs beside the weights that it holds, by its budget.

    They are what the forward pass of one batch keeps for the backward pass, the gradients, and the optimizer's state,
    of the largest network that the client trains at once: several base models can be trained one after another. What
    layers need while they run is not counted.

    Args:
        config, budgets: as for `training_macs`.

    Raises:
        UserError: as for `training_macs`.
    """
    method, batch = method_of(config, budgets), config.scalars.batch_size
    copies = 1 + optimizer_states(config)
    needed: dict[NetworkSpec, int] = {}
    for budget in set(budgets):
        for spec, _ in method.training_load(budget):
            if spec not in needed:
                network = spec.build(1)
                parameters = sum(value.numel() for value in network.parameters())
                needed[spec] = payload_bytes(copies * parameters) + batch * kept_per_image(network)
    return {budget: max(needed[spec] for spec, _ in method.training_load(budget)) for budget in sorted(set(budgets))}


def kept_per_image(network: LaneNetwork) -> int:
    """Bytes that a forward pass of a single lane in training keeps of each further image."""
    network.train()
    unstack(network)
    kept = []
    for images in FEW:
        network.draw_from([rng(0, "memory")])
        with KeptTensors(network.state_dict().values()) as counts:
            logits = network(torch.zeros(images, *network.spec.input_shape))
        del logits
        kept.append(counts.most)
    return (kept[1] - kept[0]) // (FEW[1] - FEW[0])


def optimizer_states(config: RunConfig) -> int:
    """Values that the local optimizer remembers of each parameter: one with momentum, two for Adam."""
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.zeros(3)
    optimizer = config.optimizer.build([parameter], 0.1)
    optimizer.step()
    return sum(isinstance(value, Tensor) and value.dim() == 1 for value in optimizer.state[parameter].values())


def method_of(config: RunConfig, budgets: Sequence[float]) -> Method:
    """The run's method, without its images."""
    masked, attack = config.partition.masked_loss, config.train_attack
    problem = Problem.of(config.dataset, config.budget, budgets, masked, attack, config.server_optimizer)
    return config.algorithm.bind(config.model, problem)
