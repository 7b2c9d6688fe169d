"""A run's base models with fixed statistics: what a bundle holds, and the PyTorch model that it must equal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splitmix.algorithms.base import MixGroup
from splitmix.errors import UserError
from splitmix.evaluation.customized import CustomizedLanes, CustomizedModel
from splitmix.evaluation.statistics import calibration_batches
from splitmix.models.dependence import needs_calibration
from splitmix.models.network import NetworkSpec, Tensors
from splitmix.runs.loaded import Calibration, LoadedRun

BRANCHES = {"clean": 0.0, "adv": 1.0}
"""Level of robustness at which each branch's statistics are estimated: the one that uses it alone."""


NO_STATISTICS = "none, as the network has no batch normalisation"


@dataclass(frozen=True)
class Deployed:
    """All base models of a run, in the order in which they are mixed, with running statistics.

    Attributes:
        run: where they come from.
        spec: the network of one of them.
        tensors: the lanes.
        statistics: where the batch-normalisation statistics come from, in words.
        calibration: the images that fixed them, or None.
    """

    run: LoadedRun
    spec: NetworkSpec
    tensors: Tensors
    statistics: str
    calibration: Tensor | None

    @property
    def dual(self) -> bool:
        """Whether there is a level of robustness to choose."""
        return self.spec.norm == "dual"

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of robustness to show."""
        return self.run.method.adv_lambdas if self.dual else (0.0,)

    def model(self, count: int, adv_lambda: float = 0.0) -> CustomizedModel:
        """The customised model of the first `count` base models."""
        tensors = {name: value[:count] for name, value in self.tensors.items()}
        group = MixGroup(self.spec, tensors, {1.0: count})
        return CustomizedLanes(group, adv_lambda).model(1.0)


def deployed(run: LoadedRun, calibration: Calibration, named: str) -> Deployed:
    """The base models of a run with fixed statistics.

    Running statistics of the training are kept, and a network without batch normalisation needs none; those of BN mode
    `batch` (and `local`, where every client has its own) are estimated on the calibration images, as by
    `customize(..., calibration=...)`. With two branches each is estimated at the level that uses it alone: 0 and 1.

    Args:
        named: what the user called the calibration images.

    Raises:
        UserError: the method has no base models of one width; images of another size.
    """
    method = run.method
    if not method.mixes:
        raise UserError(
            f"format=bundle: a bundle holds base models of one width, and {method.called} has one network per width;"
            " give format=onnx, torch_export or executorch and a width"
        )
    [group] = method.mix_groups(run.state.tensors, [method.widths[-1]], run.state.round)
    if not needs_calibration(group.spec):
        source = "of the training (running averages, averaged over clients)" if group.spec.tracked else NO_STATISTICS
        return Deployed(run, group.spec, dict(group.tensors), source, None)
    images = run.calibration_images(calibration)
    if images is None or len(images) < 2 or tuple(images.shape[1:]) != run.input_shape:
        raise UserError(f"calibration={named}: give at least two images of shape {list(run.input_shape)}")
    spec, tensors = replace(group.spec, bn="tracked"), dict(group.tensors)
    if spec.norm == "dual":
        for branch, level in BRANCHES.items():
            for name, value in estimated(group, level, images).items():
                path, _, leaf = name.rpartition(".")
                if leaf in ("running_mean", "running_var", "num_batches_tracked"):
                    tensors[f"{path}.{branch}.{leaf}"] = value
    else:
        tensors = estimated(group, 0.0, images)
    source = "training images, equally many of every client" if named == "train" else f"images of {named}"
    return Deployed(run, spec, tensors, f"estimated on {len(images)} {source}", images)


@torch.no_grad()
def estimated(group: MixGroup, adv_lambda: float, images: Tensor) -> Tensors:
    """All lanes at a level of robustness, with statistics estimated on images."""
    lanes = CustomizedLanes(group, adv_lambda, estimated=True)
    lanes.estimate(calibration_batches(images))
    return lanes.network.lane_tensors()
