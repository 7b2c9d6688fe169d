"""`splitmix data-show`: pictures of a dataset and of the clients that it is cut into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitmix.binding import Component
from splitmix.commands.data import federation_of, run_data_verb
from splitmix.commands.messages import log
from splitmix.config import check_ranges
from splitmix.errors import UserError


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/data-show.yaml`."""

    dataset: Component
    partition: Component
    budget: Component
    seed: int
    clients_per_domain: int
    train_fraction: float
    val_fraction: float
    out: str


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_data_verb("data-show", argv, Keys, show)


def show(dataset: Any, settings: Keys) -> None:
    """Draw samples by domain, classes by client, sizes and budgets by client."""
    import numpy as np
    import torch

    from splitmix.files import write_atomically
    from splitmix.reporting.client_figures import class_figure, size_figure
    from splitmix.reporting.samples import draw_samples

    check_ranges(settings)
    dataset.check()
    out = Path(settings.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: cannot write there ({error.strerror}); choose another folder") from error
    (data, clients), budgets = federation_of(dataset, settings)
    names = [client.id for client in clients]
    write_atomically(out / "samples.png", lambda file: draw_samples(data, file))
    counts = np.stack(
        [torch.bincount(data.train.labels[client.train], minlength=len(data.classes)).numpy() for client in clients]
    )
    class_figure(out / "classes.png", counts, names, data.classes)
    sizes = np.array([[len(client.train), len(client.val), len(client.test)] for client in clients])
    size_figure(out / "clients.png", sizes, budgets, names, [client.domain for client in clients])
    log.info(f"{len(clients)} clients, {sizes[:, 0].min()} to {sizes[:, 0].max()} training images each")
    log.info(f"drawn: {', '.join(str(out / name) for name in ('samples.png', 'classes.png', 'clients.png'))}")
