"""What one job of a sweep runs: the task, told on the console, its mistakes and bugs turned into a failure."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from multiprocessing import current_process
from time import perf_counter
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from splitmix.commands.command_line import add_own_code
from splitmix.commands.composing import MISTAKES
from splitmix.commands.job_gpu import keep_to_one_gpu
from splitmix.commands.messages import log, log_to_console, one_line
from splitmix.engine.parent import end_with_parent
from splitmix.files import without_links


class Failure(Exception):
    """What a job that failed raises, for Hydra to give back: the reason in one line.

    Args:
        bug: whether it was a bug; its traceback has been shown.
    """

    def __init__(self, reason: str, bug: bool):
        super().__init__(reason, bug)
        self.reason, self.bug = reason, bug


class SweepTask:
    """The task of one job, which tells what it does and raises nothing but a Failure.

    Args:
        task: what to do with a job's config.
        labels: of all jobs, by number.
        apart: jobs run beside each other, so what one prints goes to console.log in its folder.
        config_dir: a user's folder of options; the job may run in another process, which must find their code too.
    """

    def __init__(
        self, task: Callable[[DictConfig], Any], labels: tuple[str, ...], apart: bool, config_dir: str | None = None
    ):
        self.task, self.labels, self.apart = task, labels, apart
        self.config_dir = None if config_dir is None else os.path.abspath(config_dir)

    def __call__(self, cfg: DictConfig) -> None:
        add_own_code(self.config_dir)
        if failure := self.failure(cfg):
            raise failure

    def failure(self, cfg: DictConfig) -> Failure | None:
        """Run the job; what went wrong, if anything did."""
        config = HydraConfig.get()
        number = config.job.num
        title = f"job {number + 1}/{len(self.labels)}: {self.labels[number]}"
        print(f"{title}", flush=True)
        if not self.apart:
            return self.run(cfg)
        if current_process().name.startswith("LokyProcess"):  # a worker of joblib's, which outlives a kill of the sweep
            end_with_parent("the sweep is gone; its job ends too, and can be resumed")
        keep_to_one_gpu(config)
        start = perf_counter()
        console = os.path.join(config.runtime.output_dir, "console.log")
        with open(console, "a", opener=without_links) as file, redirect_stdout(file):
            log_to_console()
            failure = self.run(cfg)
        log_to_console()
        end = "failed" if failure else "finished"
        print(f"{title}: {end} after {perf_counter() - start:.0f} s", flush=True)
        return failure

    def run(self, cfg: DictConfig) -> Failure | None:
        try:
            self.task(cfg)
        except MISTAKES as error:
            failure = Failure(one_line(error), bug=False)
        except Exception as error:
            traceback.print_exc()
            log.debug(traceback.format_exc())
            failure = Failure(f"{type(error).__name__}: {' '.join(str(error).split())}", bug=True)
        else:
            return None
        log.error(f"failed: {failure.reason}")
        return failure


def failure_of(returned: JobReturn) -> Failure | None:
    """What went wrong in a job, if anything did."""
    if returned.status != JobStatus.FAILED:
        return None
    value = returned._return_value
    return value if isinstance(value, Failure) else Failure(f"{type(value).__name__}: {value}", bug=True)
