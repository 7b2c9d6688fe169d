"""`splitmix data-check`: reads all of a dataset and tells what is there, or what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from splitmix.binding import Component
from splitmix.commands.data import counts_table, run_data_verb
from splitmix.commands.messages import log


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/data-check.yaml`."""

    dataset: Component


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_data_verb("data-check", argv, Keys, check)


def check(dataset: Any, settings: Keys) -> None:
    """Read everything; a damaged file is named by the error that reading it raises."""
    from splitmix.reporting.tables import print_table, text_table

    dataset.check()
    data = dataset.load(log.info)
    data.check()
    shape = "x".join(str(size) for size in data.input_shape)
    caption = f"{data.name}: images {shape}, {len(data.classes)} classes: {', '.join(data.classes[:20])}"
    print_table(text_table(counts_table(data), caption))
    for number, domain in enumerate(data.domains):
        labels = data.train.labels[data.train.domain_slice(number)]
        if missing := sorted(set(range(len(data.classes))) - set(labels.tolist())):
            log.info(f"domain {domain} has no training image of {', '.join(data.classes[label] for label in missing)}")
