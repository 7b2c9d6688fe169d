"""`splitmix test`: customised models of a finished run, at any width, without retraining."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from splitmix.binding import Component
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.led import led
from splitmix.commands.messages import log
from splitmix.commands.trust import trusted_targets
from splitmix.config import load_run_config, resolve
from splitmix.engine.before_torch import prepare
from splitmix.errors import UserError
from splitmix.files import refuse_links, remove_temporary
from splitmix.runs.folders import check_checkpoint, find_runs, read_config

if TYPE_CHECKING:
    from splitmix.robustness.attacks import Attack
    from splitmix.test_settings import TestSettings


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/test.yaml`."""

    run: tuple[str, ...]
    all: bool
    checkpoint: str
    trust: tuple[str, ...]
    engine: Component
    test: Component
    attack: dict[str, Component]


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return led("test", lambda: run_application("test", argv, test))


def test(cfg: DictConfig) -> None:
    """Test the runs that the config names; one that cannot be tested does not stop the others."""
    values: dict[str, Any] = resolve(cfg)
    prepare(values.get("engine"))
    if not values.get("attack"):
        raise UserError("attack=[]: give at least one option, none for the images as they are")
    keys = settings_of(cfg, Keys)
    check_checkpoint(keys.checkpoint)
    settings, engine, attacks = keys.test, keys.engine, keys.attack
    settings.check()
    attacks = asked_attacks(settings, attacks)
    folders = find_runs("run", list(keys.run), everything=keys.all)
    trusted = trusted_targets(keys.trust)
    from splitmix.reporting.metric_tables import details
    from splitmix.reporting.tables import accuracy_table, print_table, text_table
    from splitmix.reporting.tradeoff import draw_tradeoffs
    from splitmix.runs.results import changed_config
    from splitmix.runs.results_file import read_results
    from splitmix.runs.testing import run_test

    command = shlex.join(["splitmix", "test", *sys.argv[1:]])
    mistakes = []
    for folder in folders:
        try:
            refuse_links(folder)
            remove_temporary(folder)
            resolved = read_config(folder)
            config = load_run_config(resolved, trusted)
            if change := changed_config(folder, resolved, read_results(folder / "results.json")):
                log.warning(f"note: {change}: the checkpoint may be of another config")
            rows, records = run_test(config, folder, keys.checkpoint, settings, engine, attacks, command)
            print_table(accuracy_table(rows, settings.images))
            for detail in details(records):
                print_table(text_table(*detail))
            if settings.images == "test":
                for figure in draw_tradeoffs(records, folder / "figures"):
                    log.info(f"RA against SA: {figure}")
        except UserError as error:
            if len(folders) == 1:
                raise
            mistakes.append(f"{folder}: {error}")
            log.error(mistakes[-1])
    if mistakes:
        raise UserError(f"{len(mistakes)} of {len(folders)} runs could not be tested, the first: {mistakes[0]}")


def asked_attacks(settings: TestSettings, attacks: Mapping[str, Attack]) -> dict[str, Attack]:
    """The attacks by name; `test.robust` adds none, for SA, and AutoAttack.

    Raises:
        UserError: a value out of range, a missing package, or nothing that `test` could be measured under.
    """
    from splitmix.robustness.attacks import GradientSteps, NoAttack
    from splitmix.robustness.autoattack import AutoAttack

    asked = dict(attacks)
    if settings.robust:
        asked = {NoAttack.name: NoAttack(), **asked}
        asked.setdefault(AutoAttack.name, AutoAttack())
    for name, attack in asked.items():
        attack.check(f"attack.{name}")
    if settings.transfer and all(isinstance(attack, NoAttack) for attack in asked.values()):
        raise UserError("test.transfer=true: there is nothing to transfer; name an attack: attack=[none,linf_pgd]")
    if settings.sanity and not any(isinstance(attack, GradientSteps) for attack in asked.values()):
        raise UserError("test.sanity=true: checks attacks that take gradient steps; name one: attack=[none,linf_pgd]")
    return asked
