"""Settings that are too demanding for a small dataset, lowered until it serves them (`fit_data`, `debug=quick`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from splitmix.data.clients import Partition
from splitmix.data.dataset import Dataset
from splitmix.errors import UserError

FEWEST = 4
"""Train and validation images of a client, together: two each are the fewest that can be batch-normalised."""


def fit_settings(
    dataset: Dataset,
    partition: Partition,
    clients_per_domain: int,
    train_fraction: float,
    val_fraction: float,
    batch_size: int,
    seed: int,
    say: Callable[[str], None] | None = None,
) -> tuple[Partition, float, int]:
    """Partition, `train_fraction` and `batch_size` that the dataset has enough images for.

    They stay as they are where that works. Else all training images are used; else clients may also be as small as
    four images. Where every client does equally many steps, a batch is no larger than the smallest client.

    Args:
        say: told what was changed.

    Raises:
        UserError: not even that is enough; what `partition` said of it.
    """
    settings: Any = partition
    smaller = [replace(settings, min_samples=FEWEST)] if getattr(settings, "min_samples", 0) > FEWEST else []
    attempts = [(partition, train_fraction), (partition, 1.0), *((option, 1.0) for option in smaller)]
    for number, (option, fraction) in enumerate(attempts):
        share = 1.0 if dataset.fraction_applied else fraction
        try:
            clients = option.split(dataset, clients_per_domain, share, val_fraction, seed)
        except UserError:
            if number == len(attempts) - 1:
                raise
            continue
        break
    batch = min([batch_size, *(len(client.train) for client in clients)]) if option.fixed_steps else batch_size
    changes = {
        "train_fraction": (train_fraction, fraction),
        "partition.min_samples": (getattr(partition, "min_samples", 0), getattr(option, "min_samples", 0)),
        "batch_size": (batch_size, batch),
    }
    if say and (words := [f"{key}={after:g}" for key, (before, after) in changes.items() if after != before]):
        say(f"few images: {' '.join(words)} instead of what was asked for (fit_data=false refuses)")
    return option, fraction, batch
