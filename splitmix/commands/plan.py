"""`splitmix plan`: from the files of probed devices to fleet.yaml, with what its rounds will take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from omegaconf import DictConfig

from splitmix.binding import Component, shown
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.commands.probe import limits
from splitmix.config import check_ranges, resolve
from splitmix.errors import UserError
from splitmix.files import output_file, write_atomically
from splitmix.quoting import command

if TYPE_CHECKING:
    from splitmix.deploy.planning import Prediction, Wishes
    from splitmix.fleet import Fleet

HEADER = (
    "# A fleet by splitmix plan: simulate it by splitmix train fleet=<this file>; docs/real_devices.md has its keys.\n"
)
MOST_CLIENTS = 10_000


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/plan.yaml`."""

    dataset: Component
    algorithm: Component
    model: Component
    train_attack: Component
    devices: tuple[str, ...]
    clients: int | None
    slower: tuple[float, ...]
    round_seconds: float | None
    max_memory: float | None
    drop_out: float
    straggler: float
    min_clients: int
    clients_per_round: int | None
    rounds: int
    least: float
    image_size: int | None
    out: str


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("plan", argv, plan)


def plan(cfg: DictConfig) -> None:
    """Plan the fleet that the config asks for, print it, and write it."""
    keys = settings_of(cfg, Keys)
    wishes = check(keys)
    out = output_file(keys.out)
    assert out is not None
    files = device_files(keys.devices)
    from splitmix.algorithms.algorithm import method_of
    from splitmix.deploy import plan_tables, planning
    from splitmix.deploy.device import read_device
    from splitmix.federation.sampling import check_count
    from splitmix.reporting.tables import print_table, text_table

    devices = [read_device(file) for file in files]
    chosen, left_out = planning.members(devices, wishes)
    for text in left_out:
        log.warning(f"note: {text}")
    fleet = planning.fleet_of_members(chosen, wishes)
    budgets = [client.budget for client in fleet.clients]
    method = method_of(keys.dataset, fleet, budgets, keys.algorithm, keys.model, keys.train_attack, keys.image_size)
    settings = planning.settings_of(resolve(cfg), method.problem)
    for file, device in zip(files, devices, strict=True):
        planning.check_settings(device, str(file), settings)
    check_count("clients_per_round", keys.clients_per_round, len(budgets))
    seen = [member.device.seen for member in chosen]
    predicted = planning.prediction(fleet, method, seen, keys.rounds, keys.clients_per_round)
    print_table(text_table(plan_tables.fleet_rows(fleet, chosen, method), plan_tables.FLEET_CAPTION))
    tell(fleet, predicted, keys.rounds)
    full = max(row.width for device in devices for row in device.measured)
    for text in plan_tables.fleet_notes(fleet, predicted, full, keys.least):
        log.warning(f"note: {text}")
    text = HEADER + yaml.safe_dump(fleet.to_dict(), sort_keys=False, allow_unicode=True, width=120)
    write_atomically(out, lambda file: file.write(text.encode()))
    log.info(f"written to {out}: {len(seen)} clients; simulate them: {command('train', fleet=out)}")


def tell(fleet: Fleet, predicted: Prediction, rounds: int) -> None:
    """Say what a round will take."""
    from splitmix.reporting.tables import quantity

    down, up = (quantity(value, "B") for value in (predicted.bytes_down, predicted.bytes_up))
    seconds, deadline = predicted.seconds, fleet.round_seconds
    log.info(
        f"a round: {seconds:.3g} s of training (deadline {deadline:g} s), {predicted.in_time:.3g} of"
        f" {len(fleet.clients)} clients in time, {down} down, {up} up; {rounds} rounds: {rounds * seconds:.3g} s"
    )
    log.info(
        f"besides, every validation sends the whole model, {quantity(predicted.validation_bytes, 'B')}, to each client"
    )
    counts = predicted.trainers.values()
    log.info(f"each part of the model is trained by {min(counts):.3g} to {max(counts):.3g} clients in a round")


def check(keys: Keys) -> Wishes:
    """What the plan is to keep (UserError: a value out of range)."""
    from splitmix.deploy.planning import Wishes

    check_ranges(keys)
    memory = limits(keys.round_seconds, keys.max_memory)
    if keys.clients is not None and not 1 <= keys.clients <= MOST_CLIENTS:
        raise UserError(f"clients={keys.clients}: give 1 to {MOST_CLIENTS}, or null")
    if not keys.slower or not all(1e-3 <= factor <= 1e6 for factor in keys.slower):
        raise UserError(f"slower={shown(keys.slower)}: give factors from 0.001 to 10^6")
    if not 0 <= keys.drop_out < 1:
        raise UserError(f"drop_out={shown(keys.drop_out)}: give a share from 0 to below 1")
    if not 1 <= keys.straggler <= 1e6:
        raise UserError(f"straggler={shown(keys.straggler)}: give a factor from 1 (never slower)")
    if keys.min_clients < 1:
        raise UserError(f"min_clients={keys.min_clients}: give at least 1")
    if not 0 <= keys.least < math.inf:
        raise UserError(f"least={shown(keys.least)}: give a number of clients from 0")
    keys.train_attack.check("train_attack")
    return Wishes(
        keys.clients, keys.slower, keys.round_seconds, memory, keys.drop_out, keys.straggler, keys.min_clients
    )


def device_files(patterns: tuple[str, ...]) -> list[Path]:
    """The files that names and patterns mean, each once, patterns in the order of names (UserError: none)."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        matching = (
            [pattern] if Path(pattern).is_file() or not has_magic(pattern) else sorted(glob(pattern, recursive=True))
        )
        if not matching:
            raise UserError(f"devices={pattern}: no such file; give files of splitmix probe, or a pattern")
        files |= dict.fromkeys(map(Path, matching))
    if not files:
        raise UserError("devices=[]: give at least one file of splitmix probe")
    return list(files)
