"""A federation in memory: clients, server state, rounds. No files, no printing; the library's front door."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from time import perf_counter
from typing import Any

from torch import Tensor

from splitmix.algorithms.aggregation import Aggregation
from splitmix.algorithms.algorithm import Algorithm, check_adv_lambda, check_aggregation
from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.algorithms.server_optimizers import NoServerOptimizer, ServerOptimizer
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import ServerState
from splitmix.data.clients import ClientData, Partition
from splitmix.data.dataset import Dataset
from splitmix.data.partition import Uniform
from splitmix.engine.engine import Engine
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.evaluation.statistics import CALIBRATION_IMAGES, POST_PASSES
from splitmix.evaluation.task import EvaluationTask
from splitmix.federation.budgets import Groups
from splitmix.federation.finite import refuse_diverged, refuse_not_finite
from splitmix.federation.round_metrics import RoundMeasurements, RoundMetrics
from splitmix.federation.sampling import (
    DrawnBatches,
    calibration_rows,
    equal_steps,
    eval_batches,
    images_per_client,
    participants,
    validated_clients,
)
from splitmix.federation.schedules import Cosine, Schedule
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import Model
from splitmix.payload import payload_bytes
from splitmix.robustness.attacks import Attack, LinfPGD
from splitmix.widths import distinct


class Federation:
    """Clients of a dataset and the rounds they go through.

    Args:
        dataset: the images, domain by domain.
        algorithm, model, partition, budget, optimizer, server_optimizer, aggregation, schedule, engine: components, as
            in the config groups.
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
        budget: Groups | None = None,
        optimizer: SGD | Adam | None = None,
        server_optimizer: ServerOptimizer | None = None,
        aggregation: Aggregation | None = None,
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
        self.optimizer.check()
        self.schedule.check()
        server_optimizer = server_optimizer or NoServerOptimizer()
        server_optimizer.check()
        self.dataset = dataset
        self.seed, self.rounds = seed, rounds
        self.local_epochs, self.batch_size, self.clients_per_round = local_epochs, batch_size, clients_per_round
        self.budgets = budget.assign(clients_per_domain, len(dataset.domains), seed)
        if clients_per_round is not None and not 1 <= clients_per_round <= len(self.budgets):
            raise UserError(
                f"clients_per_round={clients_per_round}: the federation has {len(self.budgets)} clients; give 1 to"
                f" {len(self.budgets)}, or null for all"
            )
        attack = train_attack or LinfPGD()
        masked = partition.masked_loss
        self.problem = Problem.of(dataset, budget, self.budgets, masked, attack, server_optimizer, aggregation)
        self.method: Method = (algorithm or SplitMix()).bind(model or DigitCNN(), self.problem)
        check_aggregation(self.method)
        self.clients: tuple[ClientData, ...] = partition.split(
            dataset, clients_per_domain, 1.0 if dataset.fraction_applied else train_fraction, val_fraction, seed
        )
        self.validated = validated_clients(seed, len(self.clients), validate_clients)
        self.fixed_steps = equal_steps(self.clients, batch_size, local_epochs) if partition.fixed_steps else None
        engine = engine or EngineSettings()
        self.fabric = engine.fabric(loggers)
        rows = [part for client in self.clients for part in (client.train, client.val, client.test)]
        self.engine = Engine(engine, self.fabric, self.method, self.optimizer, dataset, batch_size, seed, rows)

    def initial_state(self) -> ServerState:
        """The server before the first round."""
        return self.method.initial_state(self.seed)

    def run_round(self, state: ServerState) -> tuple[ServerState, RoundMetrics]:
        """Broadcast, train, aggregate: one round.

        Raises:
            UserError: a client's loss is not a number (round, client and base model are named), or a merged weight.
        """
        start = perf_counter()
        chosen = participants(self.seed, state.round, len(self.clients), self.clients_per_round)
        tasks = self.method.plan(state, chosen, self.seed)
        batches = [self.batches(task.client, state.round) for task in tasks]
        weights = [float(len(self.clients[task.client].train)) for task in tasks]
        lr = self.optimizer.lr * self.schedule.factor(state.round, self.rounds)
        planned = perf_counter()
        aggregate = self.method.no_updates(state)
        clients = {name: value.clone() for name, value in state.clients.items()}
        measured = RoundMeasurements()
        with closing(self.engine.train(state, tasks, batches, weights, lr)) as results:
            for trained in measured.timed(results):
                task = trained.update.task
                refuse_diverged(trained, self.clients[task.client].id, self.optimizer)
                aggregate = self.method.accumulate(aggregate, trained.update)
                for name, value in trained.memory.items():
                    clients[name][task.client, list(task.base_models)] = value
        after = replace(self.method.finalise(state, aggregate), clients=clients)
        refuse_not_finite(after, self.optimizer)
        merged = perf_counter()
        data_s = measured.data_s / self.engine.workers
        budgets = [self.problem.budget(client, state.round, self.seed) for client in chosen]
        return after, RoundMetrics(
            round=state.round,
            lr=lr,
            loss=measured.mean("loss"),
            accuracy=measured.mean("accuracy"),
            bytes_down=payload_bytes(sum(map(self.method.download_entries, budgets))),
            bytes_up=payload_bytes(sum(map(self.method.upload_entries, budgets))),
            seconds={
                "data": planned - start + data_s,
                "train": measured.waited_s - data_s,
                "merge": merged - planned - measured.waited_s,
            },
        )

    def batches(self, client: int, round_index: int) -> DrawnBatches:
        """The batches that a client trains on in a round."""
        rows, keys = self.clients[client].train, ("batches", round_index, client)
        return DrawnBatches(rows, self.batch_size, self.local_epochs, self.fixed_steps, self.seed, keys)

    def validate(self, state: ServerState, widths: Sequence[float]) -> Accuracy:
        """Validation SA of every validated client, in batches of the training batch size; each width once."""
        return self._validate(state, EvaluationTask(distinct(widths, self.method.widths), "train", []))

    def validate_robust(self, state: ServerState, widths: Sequence[float], max_images: int | None = None) -> Accuracy:
        """Validation RA of every validated client under the training attack, at the highest level of robustness.

        Args:
            max_images: use so many validation images in all, equally many of every client.
        """
        level, each = self.method.adv_lambdas[-1], distinct(widths, self.method.widths)
        task = EvaluationTask(each, "train", [], adv_lambda=level, attack=self.problem.attack)
        return self._validate(state, task, images_per_client(max_images, len(self.validated)))

    def _validate(self, state: ServerState, task: EvaluationTask, count: int | None = None) -> Accuracy:
        """Run a task on the validated clients' first `count` validation images."""
        batches = [eval_batches(self.clients[client].val[:count], self.batch_size) for client in self.validated]
        if len(self.validated) < len(self.clients):
            state = replace(state, clients={name: value[self.validated] for name, value in state.clients.items()})
        return self.engine.evaluate(state, replace(task, batches=batches))

    def test(
        self,
        state: ServerState,
        widths: Sequence[float],
        *,
        adv_lambda: float = 0.0,
        batch_size: int = 128,
        bn: str = "trained",
        max_images: int | None = None,
        attack: Attack | None = None,
        predictions: bool = False,
    ) -> Accuracy:
        """Test accuracy of every client, at each width once.

        Args:
            adv_lambda: level of robustness, in [0, 1]; other than 0 needs a method that gives several in situ.
            bn: which batch-normalisation statistics: `trained`: as the run left them; `post`: estimated on each
                client's training images first (20 passes); `static`: estimated in one pass over the training images of
                all clients, one set for all (static batch normalisation of HeteroFL, Diao et al., ICLR 2021).
            max_images: use so many test images in all, equally many of every client.
            attack: attack the images, each against the customised model under test; None leaves them.
            predictions: also give the predictions of every image, for `splitmix.evaluation.classification`.

        Raises:
            UserError: a width or a level that the method cannot give; `bn=static` where statistics stay with clients.
        """
        check_adv_lambda(self.method, adv_lambda)
        count = images_per_client(max_images, len(self.clients))
        batches = [eval_batches(client.test[:count], batch_size) for client in self.clients]
        if bn == "static" and state.local:
            raise UserError("test.bn=static: with model.bn=local each client has its own statistics; use test.bn=post")
        images = sum(len(client.train) for client in self.clients)
        task = EvaluationTask(
            distinct(widths, self.method.widths),
            "test",
            batches,
            [self.post_batches(client) for client in range(len(self.clients))] if bn == "post" else None,
            adv_lambda,
            attack,
            shared_calibration=calibration_rows(self.clients, images, self.seed) if bn == "static" else None,
            predictions=predictions,
        )
        return self.engine.evaluate(state, task)

    def calibration_images(self, count: int = CALIBRATION_IMAGES) -> Tensor:
        """Training images `[n, channels, h, w]` (uint8) for `customize(..., calibration=...)`.

        Equally many of every client, in random order, the same for the same seed; UserError for fewer than two.
        """
        return self.dataset.train.images[calibration_rows(self.clients, count, self.seed)]

    def post_batches(self, client: int) -> DrawnBatches:
        """The batches from which a client's statistics are estimated in BN mode `post`: 20 reshuffled passes."""
        rows = self.clients[client].train
        return DrawnBatches(rows, self.batch_size, POST_PASSES, None, self.seed, ("post", client))
