"""A verb over a grid: every job is checked before the first one starts, and none stops the others.

Hydra's own sweeper makes the sweep's folder before it looks at a job, and tells of the first failed job only. So the
grid is expanded, with Hydra's parser, here; Hydra's launchers (basic, joblib, submitit) and callbacks are used as they
are. Other sweepers are refused: they choose a job by the result of an earlier one, so that no job can be checked first.
"""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from splitmix.commands.composing import composing, read_words
from splitmix.commands.help import with_config_dir
from splitmix.commands.messages import log, mistake_of
from splitmix.commands.single import the_hydra
from splitmix.commands.streams import complain
from splitmix.commands.sweep_task import Failure, SweepTask, failure_of
from splitmix.commands.swept_groups import compose_shared
from splitmix.config import conf_dir
from splitmix.errors import UserError


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: its words of the command line, e.g. `["seed=1", "model.bn=batch"]`.
        label: what the sweep's messages call it.
        skip: why it need not run, if so.
        mistake: why it cannot run, if so.
    """

    overrides: tuple[str, ...]
    label: str
    skip: str | None = None
    mistake: str | None = None


Plan = Callable[[list[tuple[list[str], Callable[[], DictConfig]]]], list[Job]]
"""From each job's overrides, and its config on demand, to jobs."""


def run_sweep(verb: str, arguments: Namespace, task: Callable[[DictConfig], Any], plan: Plan | None = None) -> int:
    """Run `task` on every job of the command line's grid.

    Args:
        plan: decides before anything runs which jobs run, under which overrides; without it all jobs run, in the
            folder at hand.

    Returns:
        0; 2 if a job failed by a mistake of the user's, 1 if one failed by a bug.

    Raises:
        UserError: a mistake that all jobs share.
        KeyboardInterrupt: Ctrl-C, which ends the whole sweep.
    """
    with initialize_config_dir(str(conf_dir()), job_name=verb, version_base="1.3"):
        hydra = the_hydra()
        loader = hydra.config_loader
        fixed = ["hydra.mode=MULTIRUN", *(["hydra.sweep.dir=.", "hydra.sweep.subdir=."] if plan is None else [])]

        def compose(words: list[str]) -> DictConfig:
            overrides = with_config_dir(words, arguments.config_dir)
            return hydra.compose_config(verb, [*overrides, *fixed], run_mode=RunMode.MULTIRUN)

        master, of_jobs = compose_shared(compose, read_words(arguments.overrides))
        check_sweeper(master)
        grid = {**(master.hydra.sweeper.get("params") or {})}
        words = [*(f"{key}={value}" for key, value in grid.items()), *master.hydra.overrides.task, *of_jobs]
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(words)
        points = BasicSweeper.split_arguments(parsed, None)[0]
        if not points:
            empty = [str(w.input_line) for w in parsed if w.is_sweep_override() and not [*w.sweep_iterator()]]
            raise UserError(f"{' '.join(empty)}: gives no value, so the sweep has no job; give at least one")
        on_demand = partial(composing, partial(loader.load_sweep_config, master))
        if plan is None:
            jobs = [Job(tuple(p), shlex.join(p), mistake=mistake_of(partial(on_demand, p), verb)) for p in points]
        else:
            jobs = plan([(point, partial(on_demand, point)) for point in points])
        refuse_if_all_mistaken(jobs)
        todo = [job for job in jobs if not (job.skip or job.mistake)]
        announce(jobs, todo)
        callbacks = Callbacks(master)
        callbacks.on_multirun_start(config=master, config_name=verb)
        context = HydraContext(config_loader=loader, callbacks=callbacks)
        alone = master.hydra.launcher._target_ == f"{BasicLauncher.__module__}.{BasicLauncher.__name__}"
        labels = tuple(job.label for job in todo)
        guarded = SweepTask(task, labels, not alone and plan is not None, arguments.config_dir)
        launcher = Plugins.instance().instantiate_launcher(context, guarded, master)
        at_once = master.hydra.sweeper.max_batch_size or max(1, len(todo))
        returns: list[JobReturn] = []
        try:
            for low in range(0, len(todo), at_once):
                batch = [job.overrides for job in todo[low : low + at_once]]
                returns += launcher.launch(batch, initial_job_idx=low)
        except KeyboardInterrupt:
            log.info("sweep interrupted; the same command goes on with it")
            raise
        except Exception as error:
            # A worker that was killed, a queue that is not there: launchers tell of it as they like.
            if alone:
                raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(f"the launcher stopped ({reason}); the same command goes on with the sweep") from error
        callbacks.on_multirun_end(config=master, config_name=verb)
        return summary(jobs, todo, returns)


def check_sweeper(master: DictConfig) -> None:
    """Raise UserError for another sweeper than the one that `run_sweep` stands for, no launcher, a batch of no jobs."""
    if OmegaConf.select(master, "hydra.launcher._target_") is None:
        raise UserError("hydra.launcher: has no _target_; give hydra/launcher=basic, or another launcher that is there")
    target = OmegaConf.select(master, "hydra.sweeper._target_")
    if target != f"{BasicSweeper.__module__}.{BasicSweeper.__name__}":
        raise UserError(
            f"hydra/sweeper: {target} would not be used, since splitmix checks all jobs before the first one; leave"
            " hydra/sweeper out and give the values of each key, e.g. -m optimizer.lr=0.01,0.1"
        )
    size = master.hydra.sweeper.max_batch_size
    if size is not None and size < 1:
        raise UserError(f"hydra.sweeper.max_batch_size={size}: give at least 1 job, or null for all jobs at once")


def refuse_if_all_mistaken(jobs: list[Job]) -> None:
    """Raise UserError if no job can run."""
    reasons = list(dict.fromkeys(job.mistake for job in jobs if job.mistake))
    if reasons and len(jobs) == sum(job.mistake is not None for job in jobs):
        others = f" (and other jobs have other mistakes, {len(reasons)} in all)" if len(reasons) > 1 else ""
        raise UserError(f"{reasons[0]}{others}")


def announce(jobs: list[Job], todo: list[Job]) -> None:
    """Say what the sweep will do."""
    for job in jobs:
        if job.skip:
            log.info(f"{job.skip}: {job.label}")
        elif job.mistake:
            log.info(f"cannot run: {job.label}: {job.mistake}")
    log.info(f"sweep of {count(len(jobs))}, {len(todo)} to run")


def count(jobs: int) -> str:
    """A number of jobs in words."""
    return f"{jobs} job" if jobs == 1 else f"{jobs} jobs"


def summary(jobs: list[Job], todo: list[Job], returns: Any) -> int:
    """Say what failed and why; the exit code."""
    failures = [(job.label, Failure(job.mistake, False)) for job in jobs if job.mistake]
    for job, returned in zip(todo, returns, strict=True):
        if failure := failure_of(returned):
            failures.append((job.label, failure))
    if not failures:
        log.info(f"all {count(len(jobs))} of the sweep are finished" if len(jobs) > 1 else "the sweep is finished")
        return 0
    for label, failure in failures:
        complain(f"failed: {label}: {failure.reason}")
    complain(f"{len(failures)} of {count(len(jobs))} failed; the same command tries them again")
    return 1 if any(failure.bug for _, failure in failures) else 2
