"""Trackers of metrics beside metrics.csv: TensorBoard, Weights & Biases, MLflow, by Lightning's own loggers.

metrics.csv is always written, since resuming and reports read it; the same values go to the chosen tracker under the
same names, with the round as step.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from lightning_fabric.loggers import Logger

from splitmix.errors import UserError
from splitmix.files import write_atomically
from splitmix.reading import read_json

log = logging.getLogger("splitmix")

IDENTITY = "tracker.json"
"""The file of a run folder that keeps a tracker's own name of the run, so that a resumed run goes on with it."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a run.

    Attributes:
        folder: the run folder.
        config: the resolved config.
        round: the first round that will be logged; 0 for a new run.
    """

    folder: Path
    config: Mapping[str, Any]
    round: int = 0

    def identity(self, option: str) -> str | None:
        """The tracker's own name of this run, if the run goes on and one was kept."""
        with suppress(UserError, AttributeError):
            name = read_json(self.folder / IDENTITY).get(option)
            return name if self.round and isinstance(name, str) else None
        return None

    def keep_identity(self, option: str, name: str) -> None:
        """Keep it; UserError if it cannot be written."""
        text = json.dumps({option: name}) + "\n"
        write_atomically(self.folder / IDENTITY, lambda file: file.write(text.encode()))


class Tracker(Logger):
    """One of Lightning's loggers that cannot stop a training: metrics.csv has all that it loses.

    Args:
        option: the option of the config group `logger`, for messages.
        start: makes and begins the logger.
        mend: what a user may do when it cannot begin.

    Raises:
        UserError: it cannot begin.
    """

    def __init__(self, option: str, start: Callable[[], Logger], mend: str):
        super().__init__()
        self.option = option
        self.logger: Logger | None = None
        try:
            self.logger = start()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"logger={option}: {' '.join(str(error).split())} ({mend})") from error

    @property
    def name(self) -> str:
        return self.option

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config was told at the start."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Pass one round on, at once; after a first failure say so, and pass on nothing more."""

        def act(logger: Logger) -> None:
            logger.log_metrics(metrics, step)
            logger.save()

        self.trying(act)

    def finalize(self, status: str) -> None:
        """End the tracker's run as `success` or `failed`."""
        self.trying(lambda logger: logger.finalize(status))

    def trying(self, act: Callable[[Logger], None]) -> None:
        if self.logger is None:
            return
        try:
            act(self.logger)
        except Exception as error:
            self.logger = None
            reason = " ".join(str(error).split())
            log.warning(f"logger={self.option}: {reason}; the run goes on without it, metrics.csv has everything")


class Package:
    """An option whose package, of the option's name, may be missing."""

    name: ClassVar[str]

    def check(self) -> None:
        """Raise UserError if the package is not installed."""
        if find_spec(self.name) is None:
            raise UserError(f"logger={self.name}: {self.name} is not installed; pip install 'splitmix[{self.name}]'")


@dataclass(frozen=True)
class TensorBoard(Package):
    """Settings of `logger=tensorboard`: none, events are in `tensorboard/` of the run folder."""

    name: ClassVar[str] = "tensorboard"

    def trackers(self, run: TrackedRun) -> list[Logger]:
        """A writer that hides what an interrupted run had logged from the resumed round on."""

        def start() -> Logger:
            from lightning_fabric.loggers import TensorBoardLogger

            logger = TensorBoardLogger(run.folder, name="tensorboard", version="", purge_step=run.round)
            assert logger.experiment is not None
            return logger

        return [Tracker("tensorboard", start, "choose another folder, or logger=csv")]


@dataclass(frozen=True)
class WandB(Package):
    """Settings of `logger=wandb`.

    Attributes:
        project: project that the run belongs to; the run is named after its folder and grouped by `name`.
        entity: user or team; None is the account's default.
        offline: keep everything in the run folder; `wandb sync` sends it later.
    """

    name: ClassVar[str] = "wandb"

    project: str = "splitmix"
    entity: str | None = None
    offline: bool = False

    def trackers(self, run: TrackedRun) -> list[Logger]:
        """A new run of wandb's, or the one that this run folder had begun."""

        def start() -> Logger:
            import wandb
            from pytorch_lightning.loggers import WandbLogger

            class FinishedWandbLogger(WandbLogger):
                """One run in a process may follow another, as in a sweep: end it for good."""

                def finalize(self, status: str) -> None:
                    super().finalize(status)
                    self.experiment.finish(exit_code=0 if status == "success" else 1)

            identity = run.identity("wandb") or secrets.token_hex(4)
            logger = FinishedWandbLogger(
                name=run.folder.name,
                save_dir=run.folder,
                id=identity,
                project=self.project,
                entity=self.entity,
                group=run.config.get("name"),
                mode="offline" if self.offline else "online",
                settings=wandb.Settings(console="off", quiet=True),
            )
            logger.log_hyperparams(dict(run.config))
            run.keep_identity("wandb", identity)
            return logger

        return [Tracker("wandb", start, "or give logger.offline=true")]


@dataclass(frozen=True)
class MLflow(Package):
    """Settings of `logger=mlflow`.

    Attributes:
        tracking_uri: a server or a database, e.g. sqlite:///mlflow.db.
        experiment: experiment of MLflow's that the run belongs to; None is the run's `name`.
    """

    name: ClassVar[str] = "mlflow"

    tracking_uri: str = "sqlite:///mlflow.db"
    experiment: str | None = None

    def trackers(self, run: TrackedRun) -> list[Logger]:
        """A new run of MLflow's, or the one that this run folder had begun."""

        def start() -> Logger:
            from pytorch_lightning.loggers import MLFlowLogger

            for noisy in ("alembic", "mlflow", "pytorch_lightning"):
                logging.getLogger(noisy).setLevel(logging.ERROR)
            known = run.identity("mlflow")
            experiment = self.experiment or str(run.config.get("name", "splitmix"))
            logger = MLFlowLogger(experiment, run.folder.name, self.tracking_uri, run_id=known)
            if known is None:
                # MLflow refuses to log a parameter a second time.
                logger.log_hyperparams(dict(run.config))
            run.keep_identity("mlflow", str(logger.run_id))
            return logger

        return [Tracker("mlflow", start, "check logger.tracking_uri")]
