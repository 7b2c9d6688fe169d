"""A fleet: its clients with budgets and speeds, its deadline; what a deployment serves and a simulation imitates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from splitmix.binding import bind_settings, shown
from splitmix.errors import UserError
from splitmix.reading import read_yaml

if TYPE_CHECKING:
    from splitmix.config import RunConfig

ON_BAD_UPDATE = ("skip", "stop")
MOST_SECONDS = 1e9


@dataclass(frozen=True)
class FleetClient:
    """A client that the fleet expects. What follows the budget is for simulations; `splitmix plan` writes it.

    Attributes:
        id: as its node's settings say it.
        domain: by which tables name its images.
        budget: the largest width that it can train, above 0 and up to 1.
        step_seconds: seconds of a training step of `Fleet.batch_size` images with 1, 2, … base models; of a single
            number each base model takes as long; empty is not known.
        loads: with how many base models, ascending, where these are not 1, 2, …
        start_seconds: seconds that a round takes before its first step.
        drop_out: share of rounds, drawn at random, in which it is not there.
        straggler: in every round it is slower by a factor drawn between 1 and this one (evenly on a log scale).
        absent: further rounds, counted from 1, in which it is not there.
    """

    id: str
    domain: str
    budget: float
    step_seconds: tuple[float, ...] = ()
    loads: tuple[float, ...] = ()
    start_seconds: float = 0.0
    drop_out: float = 0.0
    straggler: float = 1.0
    absent: tuple[int, ...] = ()

    def check(self) -> None:
        """Raise UserError for a value out of range."""

        def refuse(key: str, mend: str) -> None:
            raise UserError(f"fleet.clients: {self.id} has {key}={shown(getattr(self, key))}; {mend}")

        if not 0 < self.budget <= 1:
            raise UserError(f"fleet.clients: {self.id} has budget {self.budget:g}; give one in (0, 1]")
        if not all(0 < seconds <= MOST_SECONDS for seconds in self.step_seconds):
            refuse("step_seconds", "give seconds above 0")
        if self.loads and len(self.loads) != len(self.step_seconds):
            refuse("loads", f"give as many numbers as step_seconds has, {len(self.step_seconds)}")
        if any(not low < high for low, high in pairwise((0.0, *self.loads))):
            refuse("loads", "give numbers of base models above 0, ascending")
        if not 0 <= self.start_seconds <= MOST_SECONDS:
            refuse("start_seconds", "give seconds from 0")
        if not 0 <= self.drop_out < 1:
            refuse("drop_out", "give a share from 0 to below 1")
        if not 1 <= self.straggler <= 1e6:
            refuse("straggler", "give a factor from 1 (never slower)")
        if any(number < 1 for number in self.absent):
            refuse("absent", "give rounds, counted from 1")

    def seconds_of_step(self, load: float) -> float:
        """Seconds of a training step with so many base models: between measured ones on a straight line.

        Below the first and above the last they are in proportion.
        """
        known = list(zip(self.loads or range(1, len(self.step_seconds) + 1), self.step_seconds, strict=True))
        for (low, start), (high, end) in pairwise(known):
            if low <= load <= high:
                return start + (end - start) * (load - low) / (high - low)
        nearest, seconds = known[0] if load < known[0][0] else known[-1]
        return seconds * load / nearest


@dataclass(frozen=True)
class Fleet:
    """Settings of a deployment, beside those of the run; in a simulation also the rule of budgets.

    Attributes:
        clients: in the order in which updates are accumulated; empty means the clients that the run's own partition
            would make, with the run's budgets.
        round_seconds: how long a client has for a round, or for an evaluation.
        wait_seconds: how long the server waits for clients to connect, at first and where too few are there.
        min_clients: fewer good updates than this leave the model as it was, and the round is repeated.
        attempts: how often a round is tried before the run stops.
        on_bad_update: `skip` leaves the client out of the round; `stop` ends the run.
        quarantine_after: a client with so many bad updates is asked no more.
        batch_size: images of the steps that `step_seconds` of the clients are of.
        base_width: width of the base model that they count in.
    """

    name: ClassVar[str] = "fleet"
    redraw: ClassVar[str] = "never"

    clients: tuple[FleetClient, ...] = ()
    round_seconds: float = 600.0
    wait_seconds: float = 300.0
    min_clients: int = 1
    attempts: int = 3
    on_bad_update: str = "skip"
    quarantine_after: int = 3
    batch_size: int = 32
    base_width: float = 0.125

    def check(self) -> None:
        """Raise UserError for a value out of range, or a client that stands twice."""
        for key in ("round_seconds", "wait_seconds"):
            if not getattr(self, key) > 0:
                raise UserError(f"fleet.{key}={getattr(self, key):g}: give seconds above 0")
        for key in ("min_clients", "attempts", "quarantine_after", "batch_size"):
            if getattr(self, key) < 1:
                raise UserError(f"fleet.{key}={getattr(self, key)}: give at least 1")
        if self.on_bad_update not in ON_BAD_UPDATE:
            raise UserError(f"fleet.on_bad_update={self.on_bad_update}: choose {' or '.join(ON_BAD_UPDATE)}")
        if not 0 < self.base_width <= 1:
            raise UserError(f"fleet.base_width={self.base_width:g}: give a width above 0 and up to 1")
        seen: set[str] = set()
        for client in self.clients:
            if client.id in seen:
                raise UserError(f"fleet.clients: {client.id} stands twice; give each client an id of its own")
            client.check()
            seen.add(client.id)
        silent = [client.id for client in self.clients if not client.step_seconds]
        if 0 < len(silent) < len(self.clients):
            raise UserError(f"fleet.clients: {silent[0]} has no step_seconds; give them for all clients, or for none")

    @property
    def timed(self) -> bool:
        """Whether it is known how long its clients take."""
        return bool(self.clients) and bool(self.clients[0].step_seconds)

    @property
    def digest(self) -> str:
        """The fleet in a word: equal for equal fleets."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return f"{len(self.clients)} clients {hashlib.sha256(text.encode()).hexdigest()[:6]}"

    def listed(self) -> tuple[float, ...]:
        """As a rule of budgets: none are listed beside those that clients have."""
        return ()

    def assign(self, clients_per_domain: int, domains: int, seed: int) -> tuple[float, ...]:
        """The budget of every client, in the order of the partition (UserError: other numbers of clients)."""
        if len(self.clients) != clients_per_domain * domains:
            raise UserError(
                f"fleet: it has {len(self.clients)} clients, but clients_per_domain={clients_per_domain} and {domains}"
                f" domains make {clients_per_domain * domains}; give clients_per_domain, or splitmix plan clients=…"
            )
        return tuple(client.budget for client in self.clients)

    def clients_of(self, config: RunConfig) -> tuple[FleetClient, ...]:
        """The clients, those of the run's partition where none are named."""
        if self.clients:
            return self.clients
        each, domains = config.scalars.clients_per_domain, config.dataset.domains
        budgets = config.budget.assign(each, len(domains), config.scalars.seed)
        ids = [(f"{number}-{index}", domain) for number, domain in enumerate(domains) for index in range(each)]
        return tuple(FleetClient(*names, budget) for names, budget in zip(ids, budgets, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """As a file has it: plain values, without those that are defaults."""
        usual = asdict(Fleet())
        changed = {key: value for key, value in asdict(self).items() if key != "clients" and value != usual[key]}
        return {**changed, "clients": [plain_client(client) for client in self.clients]}


def plain_client(client: FleetClient) -> dict[str, Any]:
    """A client as a file has it."""
    usual = asdict(FleetClient("", "", 1.0))
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(client).items()}
    return {k: v for k, v in values.items() if k in ("id", "domain", "budget") or v not in (usual[k], [])}


def fleet_of(values: Any) -> Fleet:
    """The fleet that plain values say (UserError: an unknown key, a wrong value)."""
    if not isinstance(values, Mapping):
        raise UserError("not a mapping; give the keys of a fleet, such as clients and round_seconds")
    clients = values.get("clients") or []
    if not isinstance(clients, list | tuple) or not all(isinstance(client, Mapping) for client in clients):
        raise UserError("clients: not a list of mappings; give each client an id, a domain and a budget")
    rest = bind_settings(Fleet, {str(key): value for key, value in values.items() if key != "clients"})
    bound = tuple(bind_settings(FleetClient, {str(k): v for k, v in client.items()}) for client in clients)
    fleet = Fleet(bound, **{key: value for key, value in vars(rest).items() if key != "clients"})
    fleet.check()
    return fleet


def read_fleet(path: Path) -> Fleet:
    """The settings in a file (UserError: it cannot be read, an unknown key, a wrong value)."""
    return _named(path, read_yaml(path))


def read_fleet_values(path: Path) -> dict[str, Any]:
    """The same as plain values, checked."""
    values = read_yaml(path)
    _named(path, values)
    return {str(key): value for key, value in values.items()}


def _named(path: Path, values: Any) -> Fleet:
    try:
        return fleet_of(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
