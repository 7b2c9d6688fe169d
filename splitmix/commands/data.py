"""What the verbs about data share: keys, the bound dataset, and its clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from splitmix.binding import bind, convert
from splitmix.commands.application import log, run_application, values_of
from splitmix.errors import UserError


def run_data_verb(verb: str, argv: list[str], keys: Sequence[str], task: Callable[[Any, dict[str, Any]], None]) -> int:
    """Run `task(dataset settings, config values)`; returns the exit code."""

    def run(cfg: DictConfig) -> None:
        values = values_of(cfg, keys)
        task(bind(values["dataset"], "dataset"), values)

    return run_application(verb, argv, run)


def counts_table(dataset: Any) -> list[list[str]]:
    """Images by domain and split, as rows of text."""
    rows = [["domain", "train", "test", "classes in train"]]
    for number, domain in enumerate(dataset.domains):
        labels = dataset.train.labels[dataset.train.domain_slice(number)]
        rows.append(
            [domain, str(dataset.train.counts[number]), str(dataset.test.counts[number]), str(len(labels.unique()))]
        )
    return rows


def federation_of(dataset: Any, values: Mapping[str, Any]) -> tuple[Any, tuple[float, ...]]:
    """The clients and budgets that these settings cut a dataset into."""
    for key in ("seed", "clients_per_domain"):
        if not isinstance(values[key], int) or values[key] < (key != "seed"):
            raise UserError(f"{key}={values[key]}: give a whole number of at least {int(key != 'seed')}")
    fraction, kept = (convert(values[key], float, key) for key in ("train_fraction", "val_fraction"))
    if not 0 < fraction <= 1:
        raise UserError(f"train_fraction={fraction:g}: give a share above 0 and up to 1")
    if not 0 < kept < 1:
        raise UserError(f"val_fraction={kept:g}: give a share between 0 and 1")
    partition, budget = bind(values["partition"], "partition"), bind(values["budget"], "budget")
    data = dataset.load(log.info, fraction)
    data.check()
    clients = partition.split(
        data,
        values["clients_per_domain"],
        1.0 if data.fraction_applied else fraction,
        kept,
        values["seed"],
    )
    budgets = budget.assign(values["clients_per_domain"], len(data.domains), values["seed"])
    return (data, clients), budgets
