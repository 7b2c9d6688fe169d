"""Rounds with `privacy=dp_fedavg`: who takes part, how updates are merged, and what that guarantees."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, ServerState, Update
from splitmix.engine.finishing import Trained, copied
from splitmix.federation.client_side import joined
from splitmix.federation.merging import Merge, Merging
from splitmix.federation.sampling import independent_participants
from splitmix.privacy.accounting import Guarantee, Sampling, epsilon_of, noise_for
from splitmix.privacy.mechanism import clipped_change, released
from splitmix.privacy.settings import DPFedAvg, NoPrivacy
from splitmix.randomness import torch_rng


@dataclass(frozen=True)
class PrivateMerging(Merging):
    """The same with `privacy=dp_fedavg`.

    Who trains which base model is planned for all clients, whoever takes part, so that one client's images and presence
    change nothing but its own summand. How many clients there are, their budgets and numbers of images are no secret.

    Attributes:
        clients, per_round, seed: as above. Who knows the seed knows the noise.
        settings: of `privacy=dp_fedavg`.
        rounds: after which a target ε is meant.
    """

    takes_sums: ClassVar[bool] = False

    settings: DPFedAvg
    rounds: int

    @property
    def sampling(self) -> Sampling:
        """How clients are drawn."""
        return Sampling(self.clients, self.per_round or self.clients, self.settings.participation == "poisson")

    @cached_property
    def noise_multiplier(self) -> float:
        """z, as given or found."""
        if self.settings.target_epsilon is None:
            return self.settings.noise_multiplier or 0.0
        return noise_for(self.sampling, self.settings.target_epsilon, self.rounds, self.settings.delta)

    def participants(self, round_index: int) -> list[int]:
        """Clients of a round, ascending; of independent draws perhaps none."""
        if not self.sampling.poisson:
            return super().participants(round_index)
        return independent_participants(self.seed, round_index, self.clients, self.sampling.per_round)

    def planned_for(self, participants: Sequence[int]) -> Sequence[int]:
        """All clients."""
        return range(self.clients)

    def begin(self, method: Method, state: ServerState, planned: Sequence[ClientTask]) -> Merge:
        return PrivateMerge(method, state, planned, self)

    def guarantee(self, rounds: int) -> Guarantee:
        """What holds after so many rounds (UserError: dp-accounting is not installed)."""
        epsilon = epsilon_of(self.sampling, self.noise_multiplier, rounds, self.settings.delta)
        return Guarantee(
            None if math.isinf(epsilon) else epsilon,
            self.settings.delta,
            self.sampling.relation,
            self.sampling.accountant,
            self.noise_multiplier,
            self.settings.clip_norm,
            self.settings.participation,
        )


class PrivateMerge(Merge):
    """A merge of clipped changes, with noise on their sum, and denominators that depend on nobody's data.

    Args:
        planned: the tasks of all clients, not of the participants alone.
        merging: the settings.
    """

    def __init__(self, method: Method, state: ServerState, planned: Sequence[ClientTask], merging: PrivateMerging):
        super().__init__(method, state)
        self.planned, self.merging = {task.client: task for task in planned}, merging
        self.parts: dict[int, list[Update]] = defaultdict(list)

    def add(self, trained: Trained) -> None:
        """Take lanes of a client; its change is clipped and added as soon as all of them have come."""
        task = self.planned[trained.update.task.client]
        parts = self.parts[task.client]
        parts.append(copied(trained.update))
        if sum(len(part.task.base_models) for part in parts) == len(task.base_models):
            whole = joined(task, self.parts.pop(task.client))
            change = clipped_change(whole, self.state, self.merging.settings.clip_norm)
            self.aggregate = self.method.accumulate(self.aggregate, change)

    @property
    def denominators(self) -> Tensor:
        """`[base models]`: how many clients are expected to train each, the share drawn of those it was planned for."""
        counts = torch.zeros(self.method.base_models)
        for task in self.planned.values():
            counts[list(task.base_models)] += 1
        return counts * self.merging.sampling.share

    def finished(self) -> ServerState:
        merging = self.merging
        deviation = merging.noise_multiplier * (merging.settings.clip_norm or 0.0)
        generator = torch_rng(merging.seed, "privacy noise", self.state.round)
        noisy = released(self.aggregate, self.state, self.denominators, deviation, generator)
        return self.method.finalise(self.state, noisy)


def merging_of(privacy: NoPrivacy | DPFedAvg, clients: int, per_round: int | None, rounds: int, seed: int) -> Merging:
    """The merging of a federation with this option of `privacy`.

    Args:
        per_round: participants per round; None means all.
        rounds: of the whole training.
    """
    if isinstance(privacy, NoPrivacy):
        return Merging(clients, per_round, seed)
    return PrivateMerging(clients, per_round, seed, privacy, rounds)
