"""Adversarial training over lanes: Madry et al., ICLR 2018, and its dual-BN form of Hong et al., ICLR 2022 (DAT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitmix.algorithms.base import LaneBatch, Objective, Problem, accuracy
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.dependence import predicts_alone
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.on_device import on_device
from splitmix.robustness.lanes import attack_lanes

IN_SITU = (0.0, 0.2, 0.5, 0.8, 1.0)
"""The levels of robustness that the paper shows."""
DRAWS = ("batch", "image")
"""What draws a lambda of its own in training."""


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


def drawn_objective(
    network: LaneNetwork,
    batch: LaneBatch,
    problem: Problem,
    weight: float,
    levels: Sequence[float],
    by_image: bool,
) -> Objective:
    """(1 - weight) CE(clean images) + weight CE(attacked images), at drawn levels of dual batch normalisation.

    Once-for-all adversarial training (Wang et al., NeurIPS 2020) minimises at each level l (1 - l) CE(clean) + l
    CE(attacked). Here the clean images draw their level with chances as 1 - l, the attacked ones as l: the same mean,
    for the attacks of one pass. Drawn from 0 and 1 this is `adversarial_objective`. Both go through the network
    at once, since between the branches every image is normalised by the statistics of both.

    Args:
        weight: lambda of the loss.
        levels: what is drawn from; at least one below 1 and one above 0.
        by_image: every image draws a level, otherwise every lane one for its clean and one for its attacked images.
    """
    images, n = batch.images, batch.labels.shape[1]
    sides = [
        np.stack([drawn(levels, side, n, by_image, stream) for stream in batch.streams], 1)
        for side in ("clean", "attacked")
    ]
    of_sides = on_device(torch.from_numpy(np.stack(sides)), images.device, images.dtype)
    clean, attacked = of_sides.unbind()  # [n, lanes] each
    network.set_adv_lambda(attacked)
    moved = attack_lanes(network, images, batch.labels, problem.attack, batch.streams)
    network.set_adv_lambda(torch.cat([clean, attacked]))
    of_lanes = images if images.shape == moved.shape else images.repeat(1, network.lanes, 1, 1)
    both = torch.cat([of_lanes, moved]).contiguous(memory_format=torch.channels_last)
    halves = network(both).chunk(2, 1)
    losses = [lane_cross_entropy(logits, batch.labels, masked=problem.masked_loss) for logits in halves]
    loss = (1 - weight) * losses[0] + weight * losses[1]
    return Objective(loss, loss.detach(), torch.stack([accuracy(half, batch.labels) for half in halves]).mean(0))


def drawn(
    levels: Sequence[float], side: str, n: int, by_image: bool, stream: np.random.Generator
) -> np.ndarray[Any, Any]:
    """A level for each of n `clean` or `attacked` images, or one for them all; without a choice nothing is drawn."""
    values = np.asarray(levels)
    chances = values if side == "attacked" else 1 - values
    possible = values[chances > 0]
    if len(set(possible)) == 1:
        return np.full(n, possible[0])
    return np.broadcast_to(stream.choice(values, n if by_image else 1, p=chances / chances.sum()), n)


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


def check_draw(draw: str, levels: Sequence[float], adv_lambda: float) -> None:
    """Raise UserError for levels that training cannot draw; none are drawn if there are none."""
    check_draws(draw)
    if not levels:
        return
    if not all(0 <= level <= 1 for level in levels) or min(levels) == 1 or max(levels) == 0:
        raise UserError(
            f"algorithm.lambdas={list(levels)}: give levels from 0 to 1, one below 1 and one above 0 among them; []"
            " draws none"
        )
    if not 0 < adv_lambda < 1:
        raise UserError(
            f"algorithm.lambdas={list(levels)}: levels lie between the branches of dual batch normalisation; set"
            " algorithm.adv_lambda above 0 and below 1, or algorithm.lambdas=[]"
        )


def check_draws(draw: str) -> None:
    """Raise UserError unless lambda is drawn by batch or by image."""
    if draw not in DRAWS:
        raise UserError(f"algorithm.draw={draw}: choose {' or '.join(DRAWS)}")


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
