"""A run folder as one value: its state, config and method, its data where they are asked for, and its models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.binding import Trusted
from splitmix.config import RunConfig, load_run_config
from splitmix.data.dataset import Dataset
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.customize import customize
from splitmix.evaluation.customized import CustomizedModel
from splitmix.federation.build import build_federation, check_config
from splitmix.federation.federation import Federation
from splitmix.runs.checkpoint import load_checkpoint
from splitmix.runs.folders import check_checkpoint, checkpoint_path, find_run, read_config
from splitmix.runs.images import read_images
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results_file import LACKED, read_results
from splitmix.trusted import trusted_code

if TYPE_CHECKING:
    import pandas as pd

Calibration = Tensor | np.ndarray[Any, Any] | str | Path | int | None
"""Images that fix batch-normalisation statistics: themselves, `train`, a folder of image files, or a number of training
images."""


@dataclass(frozen=True)
class LoadedRun:
    """A finished or unfinished run, read from its folder. `splitmix.load` makes one.

    Attributes:
        folder: the run folder.
        settings: its resolved config, plain values.
        config: the same, bound to components.
        results: its results.json.
        method: gives the state its meaning.
        state: the server of the checkpoint.
        checkpoint: `best`, `last`, or the number of a round.
    """

    folder: Path
    settings: dict[str, Any]
    config: RunConfig
    results: dict[str, Any]
    method: Method
    state: ServerState
    checkpoint: str

    @property
    def widths(self) -> tuple[float, ...]:
        """Every width that the run can give, ascending."""
        return self.method.widths

    @property
    def adv_lambdas(self) -> tuple[float, ...]:
        """The levels of robustness to show; (0,) where none can be chosen."""
        return self.method.adv_lambdas

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the data's domains, in the order in which clients were dealt."""
        return tuple(self.config.dataset.domains)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.config.dataset.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.method.problem.input_shape

    def metrics(self) -> pd.DataFrame:
        """metrics.csv: a row per round, counted from 0; accuracies in [0, 1], what was not measured is not a number.

        Raises:
            UserError: the file cannot be read or is damaged.
        """
        import pandas as pd

        return pd.DataFrame(read_metrics(self.folder / "metrics.csv")).astype({"round": int}).set_index("round")

    def tests(self) -> pd.DataFrame:
        """The records of `splitmix test`, a row each: width, λ, attack, statistics, images, accuracy in [0, 1]."""
        import pandas as pd

        columns = [
            "checkpoint",
            "width",
            "adv_lambda",
            "attack",
            "bn",
            "mix",
            "sort_base_models",
            "n_images",
            "accuracy",
        ]
        rows = [{**LACKED, **record, "attack": record["attack"]["name"]} for record in self.results["tests"]]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        done = f"{self.state.round} rounds of {self.method.name}"
        return f"LoadedRun({self.folder}: {done}, checkpoint {self.checkpoint}, widths up to {self.widths[-1]:g})"

    @cached_property
    def federation(self) -> Federation:
        """The run's federation: reads its dataset, which must be where the config says."""
        return build_federation(self.config, engine=EngineSettings(accelerator="cpu", workers=1))

    @property
    def dataset(self) -> Dataset:
        """The run's images and labels."""
        return self.federation.dataset

    def calibration_images(self, calibration: Calibration) -> Tensor | None:
        """The images `[n, channels, h, w]` that `calibration` means; None for None.

        Raises:
            UserError: a folder without images, or images of another size.
        """
        if calibration is None or isinstance(calibration, Tensor):
            return calibration
        if isinstance(calibration, np.ndarray):
            return torch.from_numpy(calibration)
        if isinstance(calibration, int):
            return self.federation.calibration_images(calibration)
        if calibration == "train":
            return self.federation.calibration_images()
        return read_images(Path(calibration), self.input_shape, "calibration")

    def customize(
        self,
        width: float,
        adv_lambda: float = 0.0,
        *,
        client: int | None = None,
        calibration: Calibration = None,
    ) -> CustomizedModel:
        """The customised model of a width and a level of robustness; see `splitmix.customize`.

        Args:
            calibration: images, or `train`, a folder of image files, or a number of training images. Networks in BN
                mode `batch` need them to predict a single image.

        Raises:
            UserError: a width or level that the run cannot give, calibration images that do not fit.
        """
        images = self.calibration_images(calibration)
        return customize(self.method, self.state, width, adv_lambda, client=client, calibration=images)


def load(
    run: str | Path = "latest", *, checkpoint: str = "best", trust: Sequence[str] = (), trusted: Trusted | None = None
) -> LoadedRun:
    """Read a run folder; nothing in it is executed.

    Args:
        run: the folder, or `latest`, the newest under outputs/.
        checkpoint: `best` (highest validation accuracy at the largest budget), `last`, or a round that
            `checkpoint_rounds` kept, such as `10`.
        trust: classes and functions of your own that the run may name, as `package.module.Class`.
        trusted: the same by config group, splitmix's own included; it stands in the place of `trust`.

    Raises:
        UserError: no run there, a damaged file, code that is not trusted.
    """
    check_checkpoint(checkpoint)
    folder = find_run("run", str(run))
    settings = read_config(folder)
    config = load_run_config(settings, trusted_code(trust) if trusted is None else trusted)
    method = check_config(config)
    results = read_results(folder / "results.json")
    state = load_checkpoint(checkpoint_path(folder, checkpoint), method, results.get("rounds")).state
    return LoadedRun(folder, settings, config, results, method, state, checkpoint)
