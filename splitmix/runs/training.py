"""A training run in a folder: rounds with progress, logs, checkpoints, resume, and the final test."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

from omegaconf import OmegaConf

from splitmix.config import RunConfig
from splitmix.config_hash import config_hash
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.evaluation.cost import costs
from splitmix.federation.build import build_federation
from splitmix.federation.federation import Federation
from splitmix.federation.round_metrics import RoundMetrics
from splitmix.files import write_atomically
from splitmix.progress import Progress
from splitmix.quoting import command
from splitmix.runs.announcing import announce
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from splitmix.runs.csv_logger import CSVLogger
from splitmix.runs.finished_rows import finished_rows
from splitmix.runs.loggers import TrackedRun
from splitmix.runs.overfitting import warn_of_overfitting
from splitmix.runs.records import final_test
from splitmix.runs.results import add_tests, describe_run, results_to_resume, update_results, write_results
from splitmix.runs.rows import WidthRow

log = logging.getLogger("splitmix")


def run_training(
    config: RunConfig,
    folder: Path,
    resolved: dict[str, Any],
    resume: bool = False,
    said: frozenset[str] = frozenset(),
    build: Callable[..., Any] = build_federation,
) -> FinishedTraining | None:
    """Train a federation in `folder`, or go on with the one that stopped there.

    The folder then holds config.yaml, metrics.csv, checkpoints/{last,best,round_<n>}.ckpt and results.json.

    Args:
        said: of `lanes` and `workers`, what a resumed run takes from its config and not from what it had chosen.
        build: makes the federation, called as `build_federation` is; one on real devices is made otherwise.

    Returns:
        What the training ended with; None if the run was finished before.

    Raises:
        UserError: a mistake in the configuration, an unwritable folder, a full disk, a loss that is not a number.
        KeyboardInterrupt: Ctrl-C; the last finished round is saved.
    """
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if resume and results_to_resume(folder, resolved).get("status") == "finished":
        log.info(f"{folder} is finished: nothing to resume")
        return None
    run = Training(config, folder, resolved, started, resume, said, build)
    status = "failed"
    try:
        run.rounds()
        finished = run.finish()
        status = "success"
        return finished
    except KeyboardInterrupt:
        run.mark("interrupted")
        log.info(f"interrupted after {run.last.state.round} rounds; go on with: {command('train', resume=folder)}")
        raise
    except Exception:
        # A full disk fails here too: the first cause is what the user must hear.
        with suppress(UserError):
            run.mark("failed")
        raise
    finally:
        for logger in run.federation.fabric.loggers:
            logger.finalize(status)


@dataclass(frozen=True)
class FinishedTraining:
    """What a training ended with.

    Attributes:
        rows: by width, ascending.
        best_round: 0-based number of the round whose checkpoint was tested.
        adversarial: whether the method trains on attacked images.
    """

    rows: list[WidthRow]
    best_round: int
    adversarial: bool


class Training:
    """The state of one training: federation, folder, last checkpoint."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        resolved: dict[str, Any],
        started: str,
        resume: bool,
        said: frozenset[str] = frozenset(),
        build: Callable[..., Any] = build_federation,
    ):
        self.config = config
        self.folder = folder
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"hydra.run.dir={folder}: cannot write there ({error.strerror}); choose another folder"
            ) from error
        self.logger = CSVLogger(folder / "metrics.csv")
        log.info(config.engine.describe())
        self.federation: Federation = build(config, loggers=[self.logger], say=log.info)
        method = self.federation.method
        self.widths = config.test.widths_or(method.widths)
        self.validated = tuple(sorted({*self.widths, method.widths[-1]}))
        self.validated_clients = [self.federation.clients[client] for client in self.federation.validated]
        announce(self.federation, config, len(self.validated), self.validated_clients)
        if resume:
            self.last = load_checkpoint(folder / "checkpoints" / "last.ckpt", method, config.scalars.rounds)
            self.federation.engine.adopt(self.last.tuned_without(said))
            self.logger.truncate(self.last.state.round)
        else:
            self.last = Checkpoint(self.federation.initial_state(), -1, -1.0, 0.0)
            text = OmegaConf.to_yaml(OmegaConf.create(resolved))
            write_atomically(folder / "config.yaml", lambda file: file.write(text.encode()))
            identity = {
                "algorithm": method.name,
                "dataset": self.federation.dataset.name,
                "model": config.model.name,
                "seed": config.scalars.seed,
                "rounds": config.scalars.rounds,
                "config_hash": config_hash(resolved),
                "started": started,
            }
            self.logger.truncate(0)
            self.save("last", self.last)
            write_results(folder / "results.json", describe_run(self.federation, identity))
        self.mark("running")
        tracked = TrackedRun(folder, resolved, self.last.state.round)
        self.federation.fabric.loggers.extend(config.logger.trackers(tracked))

    def rounds(self) -> None:
        """Every round that is left."""
        with Progress(self.config.scalars.rounds, self.last.state.round) as progress:
            while self.last.state.round < self.config.scalars.rounds:
                start = perf_counter()
                accuracies, metrics = self.one_round()
                full = {name: accuracy.mean()[self.validated[-1]] for name, accuracy in accuracies.items()}
                seconds = perf_counter() - start
                progress.update(metrics.loss, full, seconds)
                validation = "".join(f", validation {name.upper()} {value:.4f}" for name, value in full.items())
                log.debug(f"round {metrics.round}: loss {metrics.loss:.4f}{validation}, {seconds:.1f} s")

    def one_round(self) -> tuple[dict[str, Accuracy], RoundMetrics]:
        """Train, validate (`sa`, and `ra` after adversarial training), log, save."""
        start = perf_counter()
        state, metrics = self.federation.run_round(self.last.state)
        validating = state.round % self.config.scalars.validate_every == 0 or state.round == self.config.scalars.rounds
        begin = perf_counter()
        accuracies: dict[str, Accuracy] = {}
        if validating:
            accuracies["sa"] = self.federation.validate(state, self.validated)
            if self.federation.method.adversarial:
                most = self.config.test.max_images
                accuracies["ra"] = self.federation.validate_robust(state, self.validated, most)
                warn_of_overfitting(self.federation, state, accuracies["ra"], most)
        evaluated = perf_counter()
        best_round, best_value = self.last.best_round, self.last.best_value
        value = self.value(accuracies) if accuracies else -1.0
        improved = value > best_value
        if improved:
            best_round, best_value = metrics.round, value
        wall_s = self.last.wall_s + evaluated - start
        self.last = Checkpoint(state, best_round, best_value, wall_s, self.federation.engine.tuned_numbers)
        seconds = {**metrics.seconds, "validate": evaluated - begin}
        # The log line goes first: a kill between the two only repeats the round, and resume drops the extra line.
        self.federation.fabric.log_dict(self.row(metrics, accuracies, seconds), step=metrics.round)
        if improved:
            self.save("best", self.last)
        self.save("last", self.last)
        return accuracies, metrics

    def value(self, accuracies: dict[str, Accuracy]) -> float:
        """What the best round has most of: validation SA at the largest budget, mixed with RA after dual BN."""
        weight = self.federation.method.ra_weight
        full = {name: accuracy.mean()[self.validated[-1]] for name, accuracy in accuracies.items()}
        return (1 - weight) * full["sa"] + weight * full["ra"] if weight else full["sa"]

    def row(
        self, metrics: RoundMetrics, accuracies: dict[str, Accuracy], seconds: dict[str, float]
    ) -> dict[str, float]:
        """One line of metrics.csv."""
        row = metrics.columns(seconds)
        for name, accuracy in accuracies.items():
            row |= {f"val_{name}/{width}": value for width, value in accuracy.mean().items()}
            full = accuracy.per_client[:, -1].tolist()
            of_clients = zip(self.validated_clients, full, strict=True)
            # On real devices a client may not answer.
            row |= {f"val_{name}_client/{c.id}": value for c, value in of_clients if not math.isnan(value)}
        return row

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        if name == "last" and checkpoint.state.round in self.config.scalars.checkpoint_rounds:
            self.save(f"round_{checkpoint.state.round}", checkpoint)
        save_checkpoint(self.folder / "checkpoints" / f"{name}.ckpt", checkpoint)

    def mark(self, status: str, widths: dict[str, Any] | None = None, tests: Sequence[dict[str, Any]] = ()) -> None:
        """Write this status to results.json, with the final accuracies and test records where they are given."""

        def change(results: dict[str, Any]) -> None:
            results |= {"status": status, "wall_s": self.last.wall_s, "engine": self.federation.engine.describe()}
            results["best_round"] = None if self.last.best_round < 0 else self.last.best_round
            if rounds := self.federation.fleet_rounds:
                results["simulated_s"] = rounds.seconds_of(self.last.state.round, self.config.scalars.clients_per_round)
            if guarantee := self.federation.merging.guarantee(self.last.state.round):
                results["privacy"] = asdict(guarantee)
            if widths is not None:
                results["widths"] = widths
            add_tests(results, list(tests))

        update_results(self.folder / "results.json", change)

    def finish(self) -> FinishedTraining:
        """Test the best checkpoint and record its accuracies."""
        method = self.federation.method
        best = load_checkpoint(self.folder / "checkpoints" / "best.ckpt", method, self.config.scalars.rounds)
        price = costs(method, self.widths)
        records, accuracies = final_test(self.federation, best.state, self.config.test, self.widths)
        widths = {
            str(width): {**of_width, "macs": price[width][0], "params": price[width][1]}
            for width, of_width in accuracies.items()
        }
        self.mark("finished", widths, records)
        return FinishedTraining(finished_rows(self.folder, method), best.best_round, method.adversarial)
