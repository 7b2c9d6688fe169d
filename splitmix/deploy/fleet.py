"""The settings of a deployment: its clients, its deadline, what happens to bad updates; which keys of a run fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitmix.binding import bind_settings
from splitmix.config import RunConfig
from splitmix.errors import UserError
from splitmix.reading import read_yaml

ON_BAD_UPDATE = ("skip", "stop")


@dataclass(frozen=True)
class FleetClient:
    """A client that the fleet expects.

    Attributes:
        id: as its node's settings say it.
        domain: by which tables name its images.
        budget: the largest width that it can train, above 0 and up to 1.
    """

    id: str
    domain: str
    budget: float


@dataclass(frozen=True)
class Fleet:
    """Settings of a deployment, beside those of the run.

    Attributes:
        clients: in the order in which updates are accumulated; empty means the clients that the run's own partition
            would make, with the run's budgets.
        round_seconds: how long a client has for a round, or for an evaluation.
        wait_seconds: how long the server waits for clients to connect, at first and where too few are there.
        min_clients: fewer good updates than this leave the model as it was, and the round is repeated.
        attempts: how often a round is tried before the run stops.
        on_bad_update: `skip` leaves the client out of the round; `stop` ends the run.
        quarantine_after: a client with so many bad updates is asked no more.
    """

    clients: tuple[FleetClient, ...] = ()
    round_seconds: float = 600.0
    wait_seconds: float = 300.0
    min_clients: int = 1
    attempts: int = 3
    on_bad_update: str = "skip"
    quarantine_after: int = 3

    def check(self) -> None:
        """Raise UserError for a value out of range, or a client that stands twice."""
        for key in ("round_seconds", "wait_seconds"):
            if not getattr(self, key) > 0:
                raise UserError(f"fleet.{key}={getattr(self, key):g}: give seconds above 0")
        for key in ("min_clients", "attempts", "quarantine_after"):
            if getattr(self, key) < 1:
                raise UserError(f"fleet.{key}={getattr(self, key)}: give at least 1")
        if self.on_bad_update not in ON_BAD_UPDATE:
            raise UserError(f"fleet.on_bad_update={self.on_bad_update}: choose {' or '.join(ON_BAD_UPDATE)}")
        seen: set[str] = set()
        for client in self.clients:
            if client.id in seen:
                raise UserError(f"fleet.clients: {client.id} stands twice; give each client an id of its own")
            if not 0 < client.budget <= 1:
                raise UserError(f"fleet.clients: {client.id} has budget {client.budget:g}; give one in (0, 1]")
            seen.add(client.id)

    def clients_of(self, config: RunConfig) -> tuple[FleetClient, ...]:
        """The clients, those of the run's partition where none are named."""
        if self.clients:
            return self.clients
        each, domains = config.scalars.clients_per_domain, config.dataset.domains
        budgets = config.budget.assign(each, len(domains), config.scalars.seed)
        ids = [(f"{number}-{index}", domain) for number, domain in enumerate(domains) for index in range(each)]
        return tuple(FleetClient(*names, budget) for names, budget in zip(ids, budgets, strict=True))


def read_fleet(path: Path) -> Fleet:
    """The settings in a file (UserError: it cannot be read, an unknown key, a wrong value)."""
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: not a mapping; give the keys of a fleet, such as clients and round_seconds")
    rest = {str(key): value for key, value in values.items() if key != "clients"}
    try:
        clients = tuple(bind_settings(FleetClient, client) for client in values.get("clients") or ())
        fleet = Fleet(clients, **{k: v for k, v in vars(bind_settings(Fleet, rest)).items() if k != "clients"})
        fleet.check()
    except (UserError, AttributeError) as error:
        raise UserError(f"{path}: {error}") from error
    return fleet


def refuse_meaningless(config: RunConfig, resolved: Mapping[str, Any], fleet: Fleet) -> None:
    """Refuse settings of a run that mean nothing on real devices.

    Raises:
        UserError: the key is named.
    """
    if config.engine.workers not in ("auto", 1):
        raise UserError(f"engine.workers={config.engine.workers}: each device trains by itself; leave the key out")
    if config.scalars.fit_data:
        raise UserError("fit_data=true: no machine has all images; set partition and train_fraction yourself")
    if config.test.bn == "static":
        raise UserError("test.bn=static: needs the images of all clients at once; use test.bn=post")
    if config.test.metrics != ("accuracy",):
        raise UserError("test.metrics: devices answer with accuracies alone; use test.metrics=accuracy")
    if config.scalars.validate_clients is not None:
        raise UserError(
            f"validate_clients={config.scalars.validate_clients}: every device validates the model; leave the key out"
        )
    if config.budget.redraw != "never":
        raise UserError(f"budget.redraw={config.budget.redraw}: a device keeps its budget; use budget.redraw=never")
    if fleet.clients:
        if config.partition.name != "uniform":
            raise UserError(f"partition={config.partition.name}: the clients of a fleet have their own images already")
        if resolved.get("dataset", {}).get("root"):
            raise UserError("dataset.root: each node says where its own images lie; leave the key out")
