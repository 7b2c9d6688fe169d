"""`splitmix profile`: MACs, parameters, bytes per round and latency by width."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from splitmix.binding import bind, convert
from splitmix.commands.application import log, run_application, values_of
from splitmix.config import TestSettings
from splitmix.errors import UserError

GROUPS = ("dataset", "budget", "algorithm", "model", "train_attack", "engine")
KEYS = (*GROUPS, "widths", "batch_size", "repeats", "image_size", "clients_per_domain", "out")


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("profile", argv, profile)


def profile(cfg: DictConfig) -> None:
    """Profile the method that the config names."""
    values = values_of(cfg, KEYS)
    for key, low in (("image_size", 1), ("batch_size", 2), ("repeats", 1), ("clients_per_domain", 1)):
        if (key, values[key]) != ("image_size", None) and (not isinstance(values[key], int) or values[key] < low):
            raise UserError(f"{key}={values[key]}: give a whole number of at least {low}")
    out = None if values["out"] is None else Path(str(values["out"]))
    if out is not None and out.is_dir():
        raise UserError(f"out={out}: is a folder; name a file")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"out={out}: the folder {out.parent} does not exist")
    dataset, budget, algorithm, model, attack, engine = (bind(values[key], key) for key in GROUPS)
    wanted = TestSettings(widths=convert(values["widths"], tuple[float, ...] | str, "widths"))
    if wanted.widths == () or (isinstance(wanted.widths, str) and wanted.widths != "auto"):
        raise UserError(f"widths={wanted.widths}: give a number, a list of numbers, or auto")
    engine.check()
    attack.check("train_attack")
    import torch

    from splitmix.algorithms.base import Problem
    from splitmix.evaluation.profile import profile, too_busy
    from splitmix.files import write_atomically
    from splitmix.reporting.tables import print_table, profile_table

    budgets = budget.assign(values["clients_per_domain"], len(dataset.domains), 0)
    channels, height, breadth = dataset.input_shape
    shape = (channels, values["image_size"] or height, values["image_size"] or breadth)
    problem = Problem(shape, len(dataset.classes), budgets, listed=budget.listed(), attack=attack)
    method = algorithm.bind(model, problem)
    widths = wanted.widths_or(method.widths)
    method.mix_groups({}, widths)
    torch.set_num_threads(engine.cpu_threads)
    measured = profile(method, widths, values["batch_size"], values["repeats"])
    rows = [asdict(row) for row in measured]
    print_table(profile_table(rows, values["batch_size"]))
    if unsure := too_busy(measured):
        log.warning(
            f"note: the latency at {', '.join(f'×{width:g}' for width in unsure)} varied widely between passes: this"
            " machine is busy; measure again when it is idle, or raise repeats"
        )
    if out is not None:
        write_atomically(out, lambda file: file.write(json.dumps(rows, indent=1).encode()))
        log.info(f"written to {out}")
