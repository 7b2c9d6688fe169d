"""`splitmix probe`: times and weighs training on this device, and writes device.json with the budget that fits."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from platform import node

from omegaconf import DictConfig

from splitmix.binding import Component, shown
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.config import check_ranges, resolve
from splitmix.errors import UserError
from splitmix.files import output_file
from splitmix.quoting import command

GB = 10**9


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/probe.yaml`."""

    dataset: Component
    budget: Component
    algorithm: Component
    model: Component
    optimizer: Component
    train_attack: Component
    engine: Component
    name: str | None
    batch_size: int
    local_epochs: int
    images: int
    image_size: int | None
    round_seconds: float
    max_memory: float | None
    steps: int
    repeats: int
    process: bool
    out: str


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("probe", argv, probe)


def probe(cfg: DictConfig) -> None:
    """Measure what the config asks for, print it, and write the file."""
    keys = settings_of(cfg, Keys)
    check(keys)
    out = output_file(keys.out)
    assert out is not None
    name = keys.name or re.sub(r"[^\w.-]", "-", node())[:80] or "device"
    if not re.fullmatch(r"[\w.-]{1,80}", name):
        raise UserError(f"name={name[:80]}: give letters, digits, dots and dashes")
    import msgspec

    from splitmix.benchmarks.workloads import machine
    from splitmix.deploy import device, plan_tables, planning
    from splitmix.deploy.fresh_process import fresh_process_s
    from splitmix.deploy.probe import probe as measure
    from splitmix.federation.client_side import ClientSettings
    from splitmix.reporting.tables import print_table, text_table
    from splitmix.runs.results import versions

    engine = replace(keys.engine, workers=1)
    parts = keys.dataset, keys.budget, keys.algorithm, keys.model, keys.train_attack, keys.image_size
    methods = planning.methods_to_probe(*parts)
    log.info(f"{machine(engine)}: budgets {', '.join(f'{width:g}' for width, _ in methods)}")
    lanes = engine.lanes if isinstance(engine.lanes, int) else None
    augmentation = getattr(keys.dataset, "augmentation", None)
    settings = ClientSettings(keys.optimizer, keys.batch_size, augmentation=augmentation, lanes=lanes)
    base_width = methods[0][0]
    fresh = fresh_process_s if keys.process else None
    measured = measure(methods, settings, engine, base_width, keys.steps, keys.repeats, keys.images, fresh=fresh)
    probed = device.Device(
        kind=device.KIND,
        schema=device.SCHEMA,
        name=name,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine={
            "processor": machine(engine),
            "threads": engine.cpu_threads,
            "accelerator": engine.device_type,
            "precision": engine.precision,
            "lanes": engine.lanes,
        },
        versions=versions(),
        settings=planning.settings_of(resolve(cfg), methods[0][1].problem),
        batch_size=keys.batch_size,
        base_width=base_width,
        images=keys.images,
        local_epochs=keys.local_epochs,
        round_seconds=keys.round_seconds,
        measured=tuple(measured),
        max_memory=limits(keys.round_seconds, keys.max_memory),
    )
    best = probed.fitting(probed.round_seconds, probed.max_memory)
    probed = msgspec.structs.replace(probed, budget=None if best is None else best.width)
    print_table(text_table(plan_tables.device_rows(probed), plan_tables.device_caption(probed)))
    if note := plan_tables.busy_note(probed):
        log.warning(f"note: {note}")
    device.write_device(out, probed)
    kept = f"a round of {probed.seen} images under {probed.round_seconds:g} s"
    kept += "" if keys.max_memory is None else f" and {keys.max_memory:g} GB"
    if best is None:
        log.warning(f"note: no budget keeps {kept}; raise round_seconds or max_memory, or lower batch_size")
    else:
        log.info(f"budget {best.width:g} keeps {kept}")
    log.info(f"written to {out}; the server plans with it: {command('plan', devices=out)}")


def limits(round_seconds: float | None, max_memory: float | None) -> int | None:
    """The limit of memory in bytes, for one in GB; UserError for a limit that is no limit."""
    for key, value in (("round_seconds", round_seconds), ("max_memory", max_memory)):
        if value is not None and not 0 < value <= 10**6:
            raise UserError(f"{key}={shown(value)}: give a number above 0 and up to 10^6")
    return None if max_memory is None else int(max_memory * GB)


def check(keys: Keys) -> None:
    """Raise UserError for a value out of range."""
    check_ranges(keys)
    for key, low in (("images", 1), ("steps", 1), ("repeats", 1)):
        if (value := getattr(keys, key)) < low:
            raise UserError(f"{key}={value}: give at least {low}")
    if keys.images > 10**9 or keys.steps > 10**5:
        raise UserError(f"images={keys.images}, steps={keys.steps}: give at most 10^9 images and 10^5 steps")
    limits(keys.round_seconds, keys.max_memory)
    keys.budget.check()
    keys.optimizer.check()
    keys.engine.check()
    keys.train_attack.check("train_attack")
