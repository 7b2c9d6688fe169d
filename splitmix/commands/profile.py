"""`splitmix profile`: MACs, parameters, bytes per round and latency by width."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from omegaconf import DictConfig

from splitmix.binding import Component, shown
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.config import check_ranges
from splitmix.errors import UserError
from splitmix.files import output_file, write_atomically
from splitmix.test_settings import TestSettings


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/profile.yaml`."""

    dataset: Component
    budget: Component
    algorithm: Component
    model: Component
    train_attack: Component
    engine: Component
    widths: tuple[float, ...] | str
    batch_size: int
    repeats: int
    image_size: int | None
    clients_per_domain: int
    out: str | None


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("profile", argv, profile)


def profile(cfg: DictConfig) -> None:
    """Profile the method that the config names."""
    keys = settings_of(cfg, Keys)
    check_ranges(keys)
    out = output_file(keys.out)
    asked = TestSettings(widths=keys.widths)
    if asked.widths == () or (isinstance(asked.widths, str) and asked.widths != "auto"):
        raise UserError(f"widths={shown(asked.widths)}: give a number, a list of numbers, or auto")
    keys.engine.check()
    keys.train_attack.check("train_attack")
    import torch

    from splitmix.algorithms.algorithm import method_of
    from splitmix.evaluation.profile import profile, too_busy
    from splitmix.federation.build import check_widths
    from splitmix.reporting.tables import print_table, profile_table

    dataset, budget = keys.dataset, keys.budget
    budgets = budget.assign(keys.clients_per_domain, len(dataset.domains), 0)
    method = method_of(dataset, budget, budgets, keys.algorithm, keys.model, keys.train_attack, keys.image_size)
    widths = asked.widths_or(method.widths)
    check_widths(method, widths, "widths")
    torch.set_num_threads(keys.engine.cpu_threads)
    measured = profile(method, widths, keys.batch_size, keys.repeats)
    rows = [asdict(row) for row in measured]
    print_table(profile_table(rows, keys.batch_size))
    if unsure := too_busy(measured):
        log.warning(
            f"note: the latency at {', '.join(f'×{width:g}' for width in unsure)} varied widely between passes: this"
            " machine is busy; measure again when it is idle, or raise repeats"
        )
    if out is not None:
        write_atomically(out, lambda file: file.write(json.dumps(rows, indent=1).encode()))
        log.info(f"written to {out}")
