"""A verb run once: its config is composed, and the task runs on that very config, in Hydra's run folder.

Hydra's own application would compose it twice more, and hide the task's exception behind lines of its own.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import ValueType
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from splitmix.commands.composing import composing, read_words
from splitmix.commands.help import with_config_dir
from splitmix.commands.swept_groups import compose_shared
from splitmix.config import conf_dir
from splitmix.errors import UserError


def config_of_single(verb: str, arguments: Namespace) -> DictConfig | None:
    """The composed config of a command line, with Hydra's own node; None if it asks for several jobs.

    It does so by -m, or by an experiment that sets hydra.mode: MULTIRUN.

    Raises:
        UserError: several experiments at once, of which Hydra would drop the grids without a word; words that cannot
            be read.
    """
    words = read_words(arguments.overrides)
    for override in words:
        if override.get_key_element() == "experiment" and override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: an experiment brings its own grid, so give one at a time: one splitmix {verb}"
                " command each"
            )
    if arguments.multirun:
        return None

    def compose(words: list[str]) -> DictConfig:
        overrides = with_config_dir(words, arguments.config_dir)
        return the_hydra().compose_config(verb, overrides, run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False)

    with initialize_config_dir(str(conf_dir()), job_name=verb, version_base="1.3"):
        config, of_jobs = compose_shared(compose, words)
        one = arguments.cfg or arguments.info or arguments.hydra_help or arguments.run
        if config.hydra.mode == RunMode.MULTIRUN and not one:
            return None
    # Only now is it known that several values of a key are a mistake.
    for override in words:
        if override.is_sweep_override():
            key, _, values = str(override.input_line).partition("=")
            simple = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP
            as_list = f", or {key}=[{values}] for a list" if simple else ""
            raise UserError(f"{override.input_line}: several values are a sweep; give -m{as_list}")
    if of_jobs:
        with initialize_config_dir(str(conf_dir()), job_name=verb, version_base="1.3"):
            config = composing(compose, arguments.overrides)
    config.hydra.mode = RunMode.RUN
    return config


def run_once(verb: str, config: DictConfig, task: Callable[[DictConfig], Any]) -> None:
    """Run `task` on a config that `config_of_single` has composed; what it raises is raised."""
    with initialize_config_dir(str(conf_dir()), job_name=verb, version_base="1.3"):
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=verb)
        context = HydraContext(config_loader=the_hydra().config_loader, callbacks=callbacks)
        returned = run_job(task, config, "hydra.run.dir", None, context)
        callbacks.on_run_end(config=config, config_name=verb, job_return=returned)
    if returned.status == JobStatus.FAILED:
        raise returned._return_value


def the_hydra() -> Hydra:
    """Hydra as initialised last."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra
