"""What the verbs about data share: keys, the bound dataset, and its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log


def run_data_verb(verb: str, argv: list[str], schema: type, task: Callable[[Any, Any], None]) -> int:
    """Run `task(settings of the dataset, settings of the verb)`; returns the exit code.

    Args:
        schema: the dataclass of the verb's keys, `dataset` among them.
    """

    def run(cfg: DictConfig) -> None:
        settings: Any = settings_of(cfg, schema)
        task(settings.dataset, settings)

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


def federation_of(dataset: Any, settings: Any) -> tuple[Any, tuple[float, ...]]:
    """The clients and budgets that the settings of `data-show` cut a dataset into."""
    fraction, per_domain = settings.train_fraction, settings.clients_per_domain
    data = dataset.load(log.info, fraction)
    data.check()
    left = 1.0 if data.fraction_applied else fraction
    clients = settings.partition.split(data, per_domain, left, settings.val_fraction, settings.seed)
    budgets = settings.budget.assign(per_domain, len(data.domains), settings.seed)
    return (data, clients), budgets
