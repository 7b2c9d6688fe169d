"""`splitmix train`: compose, validate, train; or go on with a run that stopped."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from splitmix.commands.application import run_application
from splitmix.commands.command_line import overrides_of
from splitmix.commands.help import composed, run_dir, without_hydra
from splitmix.commands.led import led
from splitmix.commands.messages import log, log_to_file
from splitmix.commands.sweep_runs import can_go_on, check, plan_runs
from splitmix.commands.trust import trusted_targets, words_for_own_code
from splitmix.config import RunConfig, load_run_config, resolve_run
from splitmix.engine.before_torch import prepare
from splitmix.errors import UserError
from splitmix.quoting import command, unquoted
from splitmix.runs.folders import claimed, find_run, read_config, refuse_run_in, unfinished_run

FREE = ("engine", "logger")
"""Groups that may change beside `resume`: they cannot change the numbers."""


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return led("train", lambda: run_application("train", argv, train, before=resume, plan=plan_runs))


def train(cfg: DictConfig) -> None:
    """Train the composed config in Hydra's run folder; a job of a sweep goes on where it stopped."""
    resolved = resolve_run(cfg)
    named = resolved.pop("trust", [])
    prepare(resolved.get("engine"))
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    with claimed(folder):
        begun = hydra_config.mode == RunMode.MULTIRUN and can_go_on(folder)
        if hydra_config.mode != RunMode.MULTIRUN:
            refuse_run_in(folder)
        log_to_file(folder / "train.log")
        trusted = None
        said: frozenset[str] = frozenset()
        if begun:
            trusted = trusted_targets(named, composed=resolved)
            # What changes no number comes from the command line, all else from the run.
            stored = read_config(folder)
            resolved = {**stored, **{group: resolved[group] for group in FREE}}
            said = newly_said(stored, resolved)
            log.info(f"resuming {folder}")
        config = load_run_config(resolved, trusted)
        train_in(config, folder, resolved, resume=begun, said=said)


def resume(arguments: Namespace, config: DictConfig | None) -> bool:
    """Go on with a run if the command line says so, without Hydra making a folder.

    Args:
        config: all words composed, with Hydra's own node; None for a sweep.

    Raises:
        UserError: nothing to resume, or an override that would change the numbers; a new run in the folder of another.
    """
    if arguments.cfg or arguments.info or arguments.hydra_help:
        return False
    words, config_dir = arguments.overrides, arguments.config_dir
    overrides = overrides_of(words)
    asked = unquoted(overrides.get("resume", "null"))
    if asked in ("null", ""):
        # A mistake must be found before Hydra makes the run folder.
        if config is not None:
            refuse_run_in(run_dir(config))
            check(resolve_run(without_hydra(config)))
        return False
    if config is None:
        raise UserError(f"resume={asked}: a sweep goes on by itself; type its command again without resume")
    free = [f"{key}={value}" for key, value in overrides.items() if key.split(".")[0] in FREE]
    if asked == "auto":
        fresh = resolve_run(without_hydra(config))
        folder = unfinished_run(fresh)
        if folder is None:
            refuse_run_in(run_dir(config))
            return False
    else:
        folder = find_run("resume", asked)
        for word in words:
            if "=" not in word:
                raise UserError(f"{word}: beside resume only engine.<key>=<value> and logger.<key>=<value> may change")
        for key in overrides:
            if key not in ("resume", "trust") and key.split(".")[0] not in FREE:
                raise UserError(
                    f"{key}={overrides[key]}: a resumed run keeps its own config; beside resume only engine and logger"
                    " may change"
                )
        named = [word for word in words if word.startswith("trust=")]
        fresh = resolve_run(composed("train", [*free, *named], config_dir))
    config_dirs = [] if config_dir is None else [Path(config_dir)]
    trusted = trusted_targets(fresh["trust"], config_dirs, fresh)
    resolved = stored = read_config(folder)
    prepare(fresh["engine"] if any(word.startswith("engine=") for word in free) else stored.get("engine"))
    bound = load_run_config(resolved, trusted)
    if free:
        resolved = changed(resolved, free, fresh)
        bound = load_run_config(resolved, trusted)
    with claimed(folder):
        log_to_file(folder / "train.log")
        log.info(f"resuming {folder}")
        train_in(bound, folder, resolved, resume=True, said=newly_said(stored, resolved))
    return True


def train_in(
    config: RunConfig, folder: Path, resolved: dict[str, Any], resume: bool, said: frozenset[str] = frozenset()
) -> None:
    """Train, then draw the convergence figure and print the table; see `run_training`."""
    from splitmix.runs.results_file import read_results
    from splitmix.runs.training import run_training

    trained = run_training(config, folder, resolved, resume, said)
    from splitmix.reporting.figures import CONVERGENCE, draw_convergence
    from splitmix.reporting.tables import print_table, width_table

    if trained is None:
        # A kill between the end of the training and this line leaves a finished run without a figure.
        if not (folder / CONVERGENCE).exists() and read_results(folder / "results.json")["status"] == "finished":
            draw_convergence(folder)
        return
    figure = draw_convergence(folder)
    print_table(width_table(trained.rows))
    log.info(f"run folder: {folder}   (best round: {trained.best_round + 1}; figure: {figure.name})")
    attacks = ["attack=[none,linf_pgd]"] if trained.adversarial else []
    words = [f"test.widths={trained.rows[0].width:g}", *attacks, *words_for_own_code(resolved)]
    log.info(f"next: {command('test', *words, run=folder)}")


def newly_said(stored: dict[str, Any], resolved: dict[str, Any]) -> frozenset[str]:
    """The keys of engine for which a command line says another number than the run's own config."""
    before, now = stored["engine"], resolved["engine"]
    said = {key for key in ("lanes", "workers") if now.get(key) not in ("auto", before.get(key))}
    # Another number of ranks divides a machine's cores anew.
    if any(now.get(key, 1) != before.get(key, 1) for key in ("devices", "num_nodes")):
        said.add("workers")
    return frozenset(said)


def changed(resolved: dict[str, Any], free: list[str], fresh: dict[str, Any]) -> dict[str, Any]:
    """The run's own config with these overrides: a group gives way whole, a key alone leaves its neighbours."""
    values = {**resolved, **{group: dict(resolved[group]) for group in FREE}}
    for word in sorted(free, key=lambda word: "." in word.partition("=")[0]):
        group, _, key = word.partition("=")[0].partition(".")
        if key:
            values[group][key] = fresh[group][key]
        else:
            values[group] = dict(fresh[group])
    return values
