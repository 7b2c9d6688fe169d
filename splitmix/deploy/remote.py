"""A federation whose clients are on other machines: for `Training`, what a `Federation` in memory is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from splitmix.algorithms.values import ServerState
from splitmix.config import RunConfig
from splitmix.data.clients import ClientData
from splitmix.deploy.directory import FILE as CLIENTS_FILE
from splitmix.deploy.directory import Directory
from splitmix.deploy.exchange import Exchange
from splitmix.deploy.journal import EVALUATIONS, Journal
from splitmix.deploy.journal import FILE as JOURNAL_FILE
from splitmix.deploy.messages import HELLO, packed
from splitmix.deploy.problem import bound_method
from splitmix.deploy.remote_evaluation import RemoteEvaluation
from splitmix.deploy.remote_round import RemoteRound
from splitmix.deploy.transport import Transport
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.evaluation.mixing import MEAN
from splitmix.federation.build import check_widths
from splitmix.federation.merging import Merging
from splitmix.federation.round_metrics import RoundMetrics
from splitmix.federation.sampling import equal_steps, images_per_client
from splitmix.fleet import Fleet


@dataclass(frozen=True)
class RemoteDataset:
    """What the server knows of the images."""

    name: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]


class RemoteEngine:
    """What stands for an engine where devices train by themselves."""

    def __init__(self, settings: EngineSettings):
        self.settings = settings
        self.tuned_numbers: dict[str, int] = {}

    def adopt(self, numbers: Mapping[str, int]) -> None:
        """Nothing is tuned on the server."""

    def describe(self) -> dict[str, Any]:
        """As `Engine.describe`, and that the clients were on devices of their own."""
        return {**self.settings.used(torch.device("cpu"), 1, {}), "deployed": True}


class RemoteFederation:
    """Clients of a fleet and the rounds they go through.

    The memory of clients stays with them: in the states of the server it is that of the first round for ever.

    Args:
        config: of the run.
        sent: the resolved config, as nodes are sent it.
        fleet: clients, deadline, what happens to bad updates.
        transport: reaches the nodes.
        folder: of the run; the journal is kept there.
        run: name of the run, letters and digits; clients file their memory under it.
        loggers: of Lightning.

    Raises:
        UserError: a setting that does not fit the fleet, or a client that does not come.
    """

    has_images = False
    fleet_rounds = None
    """Devices take the time that they take: none is simulated."""

    def __init__(
        self,
        config: RunConfig,
        sent: Mapping[str, Any],
        fleet: Fleet,
        transport: Transport,
        folder: Path,
        run: str,
        loggers: Sequence[Any] = (),
    ):
        self.config, self.fleet, self.folder = config, fleet, folder
        self.about = {"run": run, "config": dict(sent)}
        self.seed, self.batch_size = config.scalars.seed, config.scalars.batch_size
        self.optimizer = config.optimizer
        members = fleet.clients_of(config)
        self.budgets = tuple(client.budget for client in members)
        asked = config.scalars.clients_per_round
        if (asked or 1) > len(members) or fleet.min_clients > (asked or len(members)):
            raise UserError(
                f"clients_per_round={asked}, fleet.min_clients={fleet.min_clients}: the fleet has {len(members)}"
                " clients; give at most as many"
            )
        self.exchange = Exchange(transport)
        self.directory = Directory(
            members, fleet, self.exchange, lambda: packed(HELLO, self.about), folder / CLIENTS_FILE
        )
        self.directory.wait_for_all()
        facts = [self.directory.facts[number] for number in range(len(members))]
        self.method = bound_method(config, facts[0], self.budgets)
        check_widths(self.method, config.test.widths_or(self.method.widths), "test.widths")
        domains = tuple(dict.fromkeys(client.domain for client in members))
        self.dataset = RemoteDataset(config.dataset.name, domains, facts[0].classes, facts[0].input_shape)
        # Rows of the client's own images, which only the client has.
        self.clients = tuple(
            ClientData(client.id, client.domain, *map(torch.arange, (fact.n_train, fact.n_val, fact.n_test)))
            for client, fact in zip(members, facts, strict=True)
        )
        self.validated = range(len(self.clients))
        steps_fixed = config.partition.fixed_steps
        self.fixed_steps = (
            equal_steps(self.clients, self.batch_size, config.scalars.local_epochs) if steps_fixed else None
        )
        self.engine = RemoteEngine(replace(config.engine, accelerator="cpu", workers=1))
        self.fabric = self.engine.settings.fabric(loggers)
        self.merging = Merging(len(self.clients), asked, self.seed)
        self.journal = Journal(folder / JOURNAL_FILE)
        self.evaluations = Journal(folder / EVALUATIONS)
        self.begun = False

    def initial_state(self) -> ServerState:
        """The server before the first round."""
        return self.method.initial_state(self.seed)

    def request(self, client: int, round_index: int) -> dict[str, Any]:
        """What every request to a client says, where round `round_index` comes next."""
        accepted = self.journal.accepted(self.clients[client].id, round_index)
        return {**self.about, "budgets": list(self.budgets), "number": client, "accepted": accepted}

    def run_round(self, state: ServerState) -> tuple[ServerState, RoundMetrics]:
        """Broadcast, let the clients train, aggregate: one round.

        Raises:
            UserError: too few good updates, time after time; a bad one where `on_bad_update=stop`.
        """
        if not self.begun:
            self.journal.drop_from(state.round)
            self.begun = True
        chosen = self.merging.participants(state.round)
        for _ in range(self.fleet.attempts):
            self.directory.wait_for(chosen, self.fleet.min_clients)
            if done := RemoteRound(self, state, chosen).run():
                return done
        raise UserError(
            f"round {state.round + 1}: fewer than fleet.min_clients={self.fleet.min_clients} good updates in"
            f" {self.fleet.attempts} attempts; see {self.journal.path}, then resume the run"
        )

    def validate(self, state: ServerState, widths: Sequence[float]) -> Accuracy:
        """Validation SA of every client that answers, in batches of the training batch size."""
        return RemoteEvaluation(self, state, widths, "val", self.batch_size).run()

    def validate_robust(self, state: ServerState, widths: Sequence[float], max_images: int | None = None) -> Accuracy:
        """Validation RA of every client that answers under the training attack, at the highest level of robustness."""
        most, level = images_per_client(max_images, len(self.clients)), self.method.adv_lambdas[-1]
        return RemoteEvaluation(self, state, widths, "val", self.batch_size, level, most=most, attacked=True).run()

    def test(
        self,
        state: ServerState,
        widths: Sequence[float],
        *,
        adv_lambda: float = 0.0,
        batch_size: int = 128,
        bn: str = "trained",
        max_images: int | None = None,
        images: Literal["test"] = "test",
        attack: None = None,
        predictions: bool = False,
        mix: str = MEAN,
    ) -> Accuracy:
        """Test accuracy of every client, at each width once; see `Federation.test`.

        Raises:
            UserError: a client that does not answer.
        """
        most = images_per_client(max_images, len(self.clients))
        return RemoteEvaluation(self, state, widths, "test", batch_size, adv_lambda, bn, most).run(everyone=True)
