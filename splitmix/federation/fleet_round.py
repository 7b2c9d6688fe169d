"""Rounds of a simulated fleet: who is there, who answers in time, how long it takes; functions of (seed, round)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask
from splitmix.errors import UserError
from splitmix.evaluation.cost import lane_cost
from splitmix.federation.sampling import participants
from splitmix.fleet import Fleet
from splitmix.randomness import rng


@dataclass(frozen=True)
class FleetRound:
    """What became of the participants of a round.

    Attributes:
        asked: clients that were there when the round began, ascending; those of all attempts.
        answered: clients whose updates came in time, ascending.
        seconds: what the round took on the fleet's devices, all attempts together; None where speeds are not known.
    """

    asked: tuple[int, ...]
    answered: tuple[int, ...]
    seconds: float | None

    @classmethod
    def of_all(cls, participants: Sequence[int]) -> FleetRound:
        """A round to which everyone comes, in no time that is known."""
        return cls(tuple(participants), tuple(participants), None)

    def in_time(self, tasks: Sequence[ClientTask]) -> list[ClientTask]:
        """The tasks of the clients whose updates came in time."""
        answered = set(self.answered)
        return [task for task in tasks if task.client in answered]

    @property
    def metrics(self) -> dict[str, float]:
        """Columns of metrics.csv."""
        counts: dict[str, float] = {"clients_asked": len(self.asked), "clients_in_time": len(self.answered)}
        return counts if self.seconds is None else {"simulated_s": self.seconds, **counts}


class FleetRounds:
    """The rounds of a fleet in a simulation, as a deployment would go through them.

    A client that is not there is not waited for. A round ends with its slowest client, or at the fleet's deadline; who
    comes later is left out. With fewer than `min_clients` answers it is repeated, up to `attempts` times.

    Args:
        fleet: its clients, in the order of the federation's.
        method: what they train.
        images: that every client trains on in a round, each as often as it is seen.
        seed: of the federation.
    """

    def __init__(self, fleet: Fleet, method: Method, images: Sequence[int], seed: int):
        self.fleet, self.seed = fleet, seed
        budgets = {client.budget for client in fleet.clients}
        loads = loads_of(method, budgets, fleet.base_width) if fleet.timed else {}
        self.seconds = tuple(
            client.start_seconds + client.seconds_of_step(loads[client.budget]) * count / fleet.batch_size
            if fleet.timed
            else 0.0
            for client, count in zip(fleet.clients, images, strict=True)
        )
        """Seconds of every client for a round in which it is as fast as it can be."""

    def round(self, round_index: int, chosen: Sequence[int]) -> FleetRound:
        """What becomes of these clients in a round.

        Raises:
            UserError: too few answers, attempt after attempt.
        """
        spent, asked = 0.0, set[int]()
        for attempt in range(self.fleet.attempts):
            there = [client for client in chosen if self.is_there(client, round_index, attempt)]
            took = {client: self.took(client, round_index, attempt) for client in there}
            answered = tuple(client for client in there if took[client] <= self.fleet.round_seconds)
            spent += min(max(took.values(), default=0.0), self.fleet.round_seconds)
            asked |= set(there)
            if len(answered) >= self.fleet.min_clients:
                return FleetRound(tuple(sorted(asked)), answered, spent if self.fleet.timed else None)
        raise UserError(
            f"round {round_index + 1}: of {len(chosen)} clients of the fleet fewer than"
            f" min_clients={self.fleet.min_clients} answered in round_seconds={self.fleet.round_seconds:g}, in"
            f" {self.fleet.attempts} attempts; raise round_seconds, or lower budgets or drop_out in the fleet's file"
        )

    def is_there(self, client: int, round_index: int, attempt: int = 0) -> bool:
        """Whether a client takes part in an attempt at a round."""
        about = self.fleet.clients[client]
        if round_index + 1 in about.absent:
            return False
        return not about.drop_out or rng(self.seed, "drop-out", round_index, client, attempt).random() >= about.drop_out

    def took(self, client: int, round_index: int, attempt: int = 0) -> float:
        """Seconds from request to answer."""
        factor = self.fleet.clients[client].straggler
        if factor == 1:
            return self.seconds[client]
        return self.seconds[client] * factor ** float(
            rng(self.seed, "straggler", round_index, client, attempt).random()
        )

    def seconds_of(self, rounds: int, clients_per_round: int | None) -> float | None:
        """What so many rounds from the first on take, together."""
        if not self.fleet.timed:
            return None
        chosen = (participants(self.seed, number, len(self.seconds), clients_per_round) for number in range(rounds))
        return sum(self.round(number, clients).seconds or 0.0 for number, clients in enumerate(chosen))

    @property
    def notes(self) -> list[str]:
        """What a user may not expect of this fleet, one line each."""
        deadline = self.fleet.round_seconds
        late = [(c.id, s) for c, s in zip(self.fleet.clients, self.seconds, strict=True) if s > deadline]
        return [
            f"client {name} takes {seconds:.3g} s for a round, over round_seconds={deadline:g}: it is always left out"
            for name, seconds in late
        ]


def loads_of(method: Method, budgets: set[float], base_width: float) -> Mapping[float, float]:
    """By budget, how many base models of this width cost as much as a training step of a client (by their MACs)."""
    spec = method.server_network
    base = replace(spec.alone(base_width), exits=())
    count = cache(lambda spec: lane_cost(spec)[0])
    return {
        budget: sum(count(spec) * times for spec, times in method.training_load(budget)) / count(base)
        for budget in budgets
    }
