"""A federation in memory: clients, server state, rounds. No files, no printing; the library's front door."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from splitmix.algorithms.aggregation import Aggregation
from splitmix.algorithms.algorithm import Algorithm, check_aggregation, check_malicious
from splitmix.algorithms.base import Problem
from splitmix.algorithms.client_rows import places, with_room
from splitmix.algorithms.malicious import Honest
from splitmix.algorithms.method import Method
from splitmix.algorithms.server_optimizers import NoServerOptimizer, ServerOptimizer
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import ServerState
from splitmix.data.client_list import rows_of
from splitmix.data.clients import ClientData, Partition
from splitmix.data.dataset import Dataset
from splitmix.data.partition import Uniform
from splitmix.engine.engine import Engine
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.settings import EngineSettings
from splitmix.federation.budgets import Groups
from splitmix.federation.evaluations import Evaluations
from splitmix.federation.finite import refuse_diverged, refuse_not_finite
from splitmix.federation.fleet_round import FleetRound, FleetRounds
from splitmix.federation.private_merging import merging_of
from splitmix.federation.round_metrics import RoundMeasurements, RoundMetrics
from splitmix.federation.sampling import (
    DrawnBatches,
    check_count,
    equal_steps,
    images_seen,
    validated_clients,
)
from splitmix.federation.schedules import Cosine, Schedule
from splitmix.fleet import Fleet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import Model
from splitmix.payload import payload_bytes
from splitmix.privacy.settings import DPFedAvg, NoPrivacy
from splitmix.robustness.attacks import Attack, LinfPGD


class Federation(Evaluations):
    """Clients of a dataset and the rounds they go through.

    Args:
        dataset: the images, domain by domain.
        algorithm, model, partition, budget, optimizer, server_optimizer, aggregation, privacy, malicious, schedule,
            engine: components, as in the config groups. A budget that is a `Fleet` also decides who answers a round in
            time.
        train_attack: what adversarial training (and validation of RA) attacks with.
        seed: decides initial weights, partition, participants, batches and draws.
        rounds: length of the learning-rate schedule.
        local_epochs: passes of a client over its images per round.
        batch_size: images per training (and validation) batch, at least 2.
        clients_per_domain: clients that each domain is cut into.
        clients_per_round: participants per round; None means all.
        train_fraction: share of the train set that is used.
        val_fraction: share of a client's train images kept for validation.
        validate_clients: validate so many clients, drawn once; None are all.

    Raises:
        UserError: components that do not fit each other, or too few images.
    """

    has_images = True
    """Whether the clients' images are in this process."""

    def __init__(
        self,
        dataset: Dataset,
        algorithm: Algorithm | None = None,
        model: Model | None = None,
        *,
        partition: Partition | None = None,
        budget: Groups | Fleet | None = None,
        optimizer: SGD | Adam | None = None,
        server_optimizer: ServerOptimizer | None = None,
        aggregation: Aggregation | None = None,
        privacy: NoPrivacy | DPFedAvg | None = None,
        malicious: Honest | None = None,
        schedule: Schedule | None = None,
        engine: EngineSettings | None = None,
        train_attack: Attack | None = None,
        loggers: Sequence[Any] = (),
        seed: int = 1,
        rounds: int = 25,
        local_epochs: int = 1,
        batch_size: int = 32,
        clients_per_domain: int = 10,
        clients_per_round: int | None = None,
        train_fraction: float = 1.0,
        val_fraction: float = 0.5,
        validate_clients: int | None = None,
    ):
        dataset.check()
        partition, budget = partition or Uniform(), budget or Groups()
        self.optimizer, self.schedule = optimizer or SGD(), schedule or Cosine()
        server_optimizer, privacy = server_optimizer or NoServerOptimizer(), privacy or NoPrivacy()
        for part in (self.optimizer, self.schedule, server_optimizer, privacy):
            part.check()
        self.dataset, self.seed, self.rounds = dataset, seed, rounds
        self.local_epochs, self.batch_size, self.clients_per_round = local_epochs, batch_size, clients_per_round
        self.budgets = budget.assign(clients_per_domain, len(dataset.domains), seed)
        check_count("clients_per_round", clients_per_round, len(self.budgets))
        attack, masked = train_attack or LinfPGD(), partition.masked_loss
        self.problem = Problem.of(
            dataset, budget, self.budgets, masked, attack, server_optimizer, aggregation, rounds, malicious
        )
        self.method: Method = (algorithm or SplitMix()).bind(model or DigitCNN(), self.problem)
        check_aggregation(self.method)
        check_malicious(self.method)
        self.clients: Sequence[ClientData] = partition.split(
            dataset, clients_per_domain, 1.0 if dataset.fraction_applied else train_fraction, val_fraction, seed
        )
        self.validated = validated_clients(seed, len(self.clients), validate_clients)
        self.fixed_steps = equal_steps(self.clients, batch_size, local_epochs) if partition.fixed_steps else None
        fleet = budget if isinstance(budget, Fleet) else None
        seen = images_seen(self.clients if fleet else (), batch_size, local_epochs, self.fixed_steps)
        self.fleet_rounds = FleetRounds(fleet, self.method, seen, seed) if fleet else None
        engine = engine or EngineSettings()
        privacy.check_run(self.method, engine.ranks, fleet is not None)
        self.merging = merging_of(privacy, len(self.clients), clients_per_round, rounds, seed)
        self.fabric = engine.fabric(loggers)
        rows = rows_of(self.clients)
        self.engine = Engine(engine, self.fabric, self.method, self.optimizer, dataset, batch_size, seed, rows)

    def initial_state(self) -> ServerState:
        """The server before the first round."""
        return self.method.initial_state(self.seed)

    def run_round(self, state: ServerState) -> tuple[ServerState, RoundMetrics]:
        """Broadcast, train, aggregate: one round.

        Raises:
            UserError: a client's loss is not a number (round, client and base model are named), or a merged weight; too
                few clients of a fleet answer.
        """
        measured = RoundMeasurements()
        chosen = self.merging.participants(state.round)
        fleet = self.fleet_rounds.round(state.round, chosen) if self.fleet_rounds else FleetRound.of_all(chosen)
        planned = self.method.plan(state, self.merging.planned_for(chosen), self.seed)
        tasks = fleet.in_time(planned)
        batches = [self.batches(task.client, state.round) for task in tasks]
        weights = [float(len(self.clients[task.client].train)) for task in tasks]
        lr = self.optimizer.lr * self.schedule.factor(state.round, self.rounds)
        measured.all_planned()
        merge = self.merging.begin(self.method, state, planned)
        clients, slots = with_room(state.clients, state.slots, [task.client for task in tasks])
        run = self.engine.train(state, tasks, batches, weights, lr, sums=self.merging.takes_sums)
        with closing(run) as results:
            for trained in measured.timed(results):
                task = trained.update.task
                refuse_diverged(trained, self.clients[task.client].id, self.optimizer)
                merge.add(trained)
                for name, value in trained.memory.items():
                    clients[name][places(slots, [task.client])[0], list(task.base_models)] = value
        after = replace(merge.finished(), clients=clients, slots=slots)
        refuse_not_finite(after, self.optimizer)
        budgets = {client: self.problem.budget(client, state.round, self.seed) for client in chosen}
        return after, RoundMetrics(
            round=state.round,
            lr=lr,
            loss=measured.mean("loss"),
            accuracy=measured.mean("accuracy"),
            bytes_down=payload_bytes(sum(self.method.download_entries(budgets[client]) for client in fleet.asked)),
            bytes_up=payload_bytes(sum(self.method.upload_entries(budgets[client]) for client in fleet.answered)),
            seconds=measured.seconds(self.engine.workers * self.engine.settings.ranks),
            fleet=fleet if self.fleet_rounds else None,
            guarantee=self.merging.guarantee(after.round),
        )

    def batches(self, client: int, round_index: int) -> DrawnBatches:
        """The batches that a client trains on in a round."""
        rows, keys = self.clients[client].train, ("batches", round_index, client)
        return DrawnBatches(rows, self.batch_size, self.local_epochs, self.fixed_steps, self.seed, keys)
