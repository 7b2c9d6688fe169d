"""The customised models of a run at every position of the dials, with fixed statistics, each made when needed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from splitmix.evaluation.cost import cost
from splitmix.evaluation.customized import CustomizedLanes, CustomizedModel
from splitmix.evaluation.profile import quartiles, seconds_in_turns
from splitmix.evaluation.statistics import calibration_batches
from splitmix.models.dependence import needs_calibration
from splitmix.runs.loaded import Calibration, LoadedRun

LEVELS_KEPT = 4
"""Levels of robustness whose models stay in memory."""


@dataclass
class Models:
    """The models of a run.

    Attributes:
        run: the run.
        calibration: images that fix batch-normalisation statistics where the run keeps none, see `LoadedRun`.
    """

    run: LoadedRun
    calibration: Calibration = "train"
    kept: OrderedDict[float, list[CustomizedLanes]] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def model(self, width: float, adv_lambda: float) -> CustomizedModel:
        """The customised model of a width and level: equal to `run.customize(width, adv_lambda, calibration=…)`."""
        return next(lanes for lanes in self.lanes(adv_lambda) if width in lanes.sizes).model(width)

    def lanes(self, adv_lambda: float) -> list[CustomizedLanes]:
        """The networks of all widths at a level. One pass over the calibration images serves all of them."""
        with self.lock:
            if adv_lambda not in self.kept:
                self.kept[adv_lambda] = self.made(adv_lambda)
            self.kept.move_to_end(adv_lambda)
            while len(self.kept) > LEVELS_KEPT:
                self.kept.popitem(last=False)
            return self.kept[adv_lambda]

    def made(self, adv_lambda: float) -> list[CustomizedLanes]:
        """The same, new."""
        run = self.run
        made = []
        for group in run.method.mix_groups(run.state.tensors, run.widths, run.state.round):
            estimated = needs_calibration(group.spec)
            lanes = CustomizedLanes(group, adv_lambda, estimated=estimated)
            images = run.calibration_images(self.calibration) if estimated else None
            if images is not None:
                lanes.estimate(calibration_batches(images))
            made.append(lanes)
        return made

    @torch.no_grad()
    def answers(self, images: Tensor, width: float, adv_lambda: float) -> Tensor:
        """Probabilities `[answers, n, classes]` after each base model of a width; the last ones are the width's own.

        A network that does not mix base models answers once.

        Args:
            images: float `[n, channels, h, w]` in [0, 1].
        """
        logits: Tensor = self.model(width, adv_lambda).network(images)
        counts = torch.arange(1, len(logits) + 1).view(-1, 1, 1)
        return (logits.cumsum(0) / counts).softmax(-1)

    def costs(self) -> dict[float, tuple[float, int]]:
        """MACs per image and parameters by width."""
        return {width: cost(self.run.method, self.run.state, width) for width in self.run.widths}

    @torch.no_grad()
    def latencies_ms(self, repeats: int) -> dict[float, float]:
        """Median milliseconds of one image by width, on this machine, measured now; the widths take turns."""
        models = {width: self.model(width, 0.0) for width in self.run.widths}
        image = torch.rand(1, *self.run.input_shape)
        times = seconds_in_turns(models, image, repeats)
        return {width: 1e3 * quartiles(of_width)[1] for width, of_width in times.items()}
