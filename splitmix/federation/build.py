"""From a bound configuration to a federation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from splitmix.algorithms.algorithm import check_adv_lambda, check_aggregation, check_malicious
from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.binding import shown
from splitmix.config import RunConfig
from splitmix.data.dataset import Dataset
from splitmix.data.fit import fit_settings
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.mixing import mixable
from splitmix.federation.federation import Federation
from splitmix.fleet import Fleet
from splitmix.models.network import lane_template


def check_config(config: RunConfig) -> Method:
    """Let every component check itself and the others, before any data is read; returns the method that it describes.

    Raises:
        UserError: the first mistake found.
    """
    config.dataset.check()
    config.budget.check()
    config.optimizer.check()
    config.schedule.check()
    config.server_optimizer.check()
    config.aggregation.check()
    config.privacy.check()
    config.malicious.check()
    config.engine.check()
    config.logger.check()
    config.train_attack.check("train_attack")
    budgets = config.budget.assign(config.scalars.clients_per_domain, len(config.dataset.domains), config.scalars.seed)
    masked, attack = config.partition.masked_loss, config.train_attack
    server, rule, rounds = config.server_optimizer, config.aggregation, config.scalars.rounds
    problem = Problem.of(config.dataset, config.budget, budgets, masked, attack, server, rule, rounds, config.malicious)
    method = config.algorithm.bind(config.model, problem)
    check_aggregation(method)
    config.privacy.check_run(method, config.engine.ranks, isinstance(config.budget, Fleet))
    check_malicious(method)
    check_widths(method, config.test.widths_or(method.widths), "test.widths")
    mixable(method, config.test.widths_or(method.widths), config.test.mix, asked=config.test.widths != "auto")
    for budget in set(budgets):
        for spec, _ in method.training_load(budget):
            lane_template(spec, 1)  # a network that cannot be built is refused here
    for adv_lambda in config.test.adv_lambdas_or(method.adv_lambdas):
        check_adv_lambda(method, adv_lambda, "test.adv_lambdas")
    bound: Method = method
    return bound


def check_widths(method: Method, widths: Sequence[float], key: str) -> None:
    """Raise UserError, naming the key that asks for them, for a width that this method cannot give."""
    for width in widths:
        try:
            method.network(width)
        except UserError as error:
            raise UserError(f"{key}={shown(width)}: {error}") from error


_last: list[Any] = []


def load_dataset(settings: Any, train_fraction: float, say: Callable[[str], None] | None) -> Dataset:
    """Load a dataset, or take the last one if it is the same: a command checks a run first, and sweeps repeat."""
    asked = (settings, train_fraction, Path.cwd())
    if not _last or _last[0] != asked:
        _last.clear()
        _last.extend([asked, settings.load(say, train_fraction)])
    dataset: Dataset = _last[1]
    return dataset


def build_federation(
    config: RunConfig,
    *,
    engine: EngineSettings | None = None,
    loggers: list[Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Federation:
    """Check the configuration, load its dataset and build the federation.

    Args:
        engine: use these engine settings instead of the configured ones.
        say: told what takes a while (making a dataset).
    """
    if engine is not None:
        config = replace(config, engine=engine)
    check_config(config)
    dataset = load_dataset(config.dataset, config.scalars.train_fraction, say)
    if config.scalars.fit_data:
        config = fitted(config, dataset, say)
    federation = Federation(
        dataset,
        config.algorithm,
        config.model,
        partition=config.partition,
        budget=config.budget,
        optimizer=config.optimizer,
        server_optimizer=config.server_optimizer,
        aggregation=config.aggregation,
        privacy=config.privacy,
        malicious=config.malicious,
        schedule=config.schedule,
        engine=config.engine,
        train_attack=config.train_attack,
        loggers=loggers or [],
        seed=config.scalars.seed,
        rounds=config.scalars.rounds,
        local_epochs=config.scalars.local_epochs,
        batch_size=config.scalars.batch_size,
        clients_per_domain=config.scalars.clients_per_domain,
        clients_per_round=config.scalars.clients_per_round,
        train_fraction=config.scalars.train_fraction,
        val_fraction=config.scalars.val_fraction,
        validate_clients=config.scalars.validate_clients,
    )
    # Other ranks read the images themselves.
    federation.engine.source = partial(load_dataset, config.dataset, config.scalars.train_fraction, None)
    return federation


def fitted(config: RunConfig, dataset: Dataset, say: Callable[[str], None] | None = None) -> RunConfig:
    """The same configuration, with what the dataset is too small for lowered."""
    scalars = config.scalars
    dataset.check()
    partition, fraction, batch_size = fit_settings(
        dataset,
        config.partition,
        scalars.clients_per_domain,
        scalars.train_fraction,
        scalars.val_fraction,
        scalars.batch_size,
        scalars.seed,
        say,
    )
    scalars = replace(scalars, train_fraction=fraction, batch_size=batch_size)
    return replace(config, partition=partition, scalars=scalars)
