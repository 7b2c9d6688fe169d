"""Adversarial training over lanes: Madry et al., ICLR 2018, and its dual-BN form of Hong et al., ICLR 2022 (DAT)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splitmix.algorithms.base import LaneBatch, Objective, Problem, accuracy
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.dependence import predicts_alone
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.robustness.lanes import attack_lanes

IN_SITU = (0.0, 0.2, 0.5, 0.8, 1.0)
"""The levels of robustness that the paper shows."""


def adversarial_objective(
    network: LaneNetwork,
    batch: LaneBatch,
    problem: Problem,
    weight: float | Tensor,
    levels: tuple[float | Tensor, float | Tensor] = (0.0, 1.0),
    attacked_statistics: Tensor | None = None,
) -> Objective:
    """(1 - weight) CE(clean images) + weight CE(attacked images), per lane.

    The clean pass goes through the network at the first level; the attack (in eval mode, against each lane alone, on
    the plain cross-entropy) and the attacked pass go through it at the second. Without dual batch normalisation
    both passes update the same statistics. With weight 1 there is no clean pass.

    Args:
        network, batch: as for `Method.objective`.
        problem: the attack, and whether the losses are masked.
        weight: lambda of the loss, one for all lanes or `[lanes]`.
        levels: lambda of the network's batch normalisation.
        attacked_statistics: bool `[lanes]`, the lanes whose statistics the attacked pass updates; None are all.
    """
    losses: list[Tensor] = []
    accuracies: list[Tensor] = []

    def add(images: Tensor, share: float | Tensor) -> None:
        logits = network(images)
        losses.append(lane_cross_entropy(logits, batch.labels, masked=problem.masked_loss) * share)
        accuracies.append(accuracy(logits, batch.labels))

    if isinstance(weight, Tensor) or weight < 1:
        network.set_adv_lambda(levels[0])
        add(batch.images, 1 - weight)
    network.set_adv_lambda(levels[1], attacked_statistics)
    add(attack_lanes(network, batch.images, batch.labels, problem.attack, batch.streams), weight)
    loss = torch.stack(losses).sum(0)
    return Objective(loss, loss.detach(), torch.stack(accuracies).mean(0))


def step_cost(problem: Problem, adv_lambda: float) -> float:
    """What a training step costs, a plain one being 1: attacks need no gradient of the weights, a third of the work."""
    return problem.attack.gradients * 2 / 3 + (2 if adv_lambda < 1 else 1) if adv_lambda else 1.0


def check_adversarial(adv_lambda: float, loss_temperature: float | str | None, problem: Problem) -> None:
    """Raise UserError for a weight outside [0, 1], or settings that cannot go with adversarial training."""
    if not 0 <= adv_lambda <= 1:
        raise UserError(
            f"algorithm.adv_lambda={shown(adv_lambda)}: give a weight from 0 (plain) to 1 (attacked images only)"
        )
    if adv_lambda and loss_temperature is not None:
        raise UserError(
            f"algorithm.loss_temperature={loss_temperature}: is for plain training; use null with"
            f" algorithm.adv_lambda={shown(adv_lambda)}"
        )
    if adv_lambda:
        check_train_attack(problem, f"algorithm.adv_lambda={adv_lambda:g}")


def check_train_attack(problem: Problem, why: str) -> None:
    """Raise UserError for training that needs an attack and has none."""
    if problem.attack.gradients == 0:
        raise UserError(f"train_attack={problem.attack.name}: {why} trains on attacked images; choose linf_pgd")


def dual_notes(spec: NetworkSpec, rescales: Sequence[str]) -> list[str]:
    """What differs from the paper's robustness experiments, which run with tracked statistics and without rescales."""
    notes = []
    if not predicts_alone(spec):
        notes.append(
            "model.bn=batch: both branches of dual batch normalisation take their statistics from the batch at hand and"
            " differ in their affine parameters alone; the paper's robustness experiments use model.bn=tracked"
        )
    if rescales:
        notes.append(
            f"{' '.join(f'{name}=true' for name in rescales)}: attacks see the network in eval mode, without rescaled"
            f" layers; the paper's robustness experiments use {' '.join(f'{name}=false' for name in rescales)}"
        )
    return notes
