"""FedRolex: Alam, Liu, Yan, Zhang, "FedRolex: Model-Heterogeneous Federated Learning with Rolling Sub-Model
Extraction", NeurIPS 2022 (arXiv 2212.01548).

HeteroFL whose slice starts one channel further in every layer each round. Over as many rounds as the widest layer has
channels (divided by `step`) all channels are trained equally by clients of every budget; in fewer rounds they are not.
A model of a width is the slice that clients of that budget trained in the last round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.base import Problem
from splitmix.algorithms.own_labels import WEIGHTINGS, OwnLabelMethod
from splitmix.algorithms.slices import SliceMethod, bound, check_weighting
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import ROUNDING, Model


@dataclass(frozen=True)
class FedRolex:
    """Settings of `algorithm=fedrolex`.

    Attributes:
        rescale_layer: divide the outputs of sliced layers by the slice's width while training.
        step: channels that the window moves on per round; below 1, a share of each layer's channels.
        weighting, label_aware: as for HeteroFL.

    Where we differ from the authors' code (AIoT-MLSys-Lab/FedRolex: resnet_server.py) by default: it averages clients
    unweighted (`algorithm.weighting=clients`), clips gradients at norm 1 (`optimizer.clip_norm=1`), trains classifier
    rows of the client's own labels alone (`algorithm.label_aware=true`), draws budgets anew each round
    (`budget.redraw=round`), and tests the full network only.
    """

    name: ClassVar[str] = "fedrolex"
    label: ClassVar[str] = "FedRolex"

    rescale_layer: bool = True
    step: float = 1.0
    weighting: str = "samples"
    label_aware: bool = False

    def bind(self, model: Model, problem: Problem) -> SliceMethod:
        """Check the settings against the model and the problem (UserError)."""
        if self.step < 0 or (self.step > 1 and self.step % 1 != 0):
            raise UserError(
                f"algorithm.step={shown(self.step)}: give a whole number of channels, or a share of them below 1"
            )
        check_weighting(self.weighting, WEIGHTINGS)
        return bound(FedRolexMethod, self, model, problem)


@dataclass(frozen=True)
class FedRolexMethod(OwnLabelMethod):
    """FedRolex bound to a model and a problem."""

    settings: FedRolex

    def offset(self, round_index: int, channels: int) -> int:
        step = self.settings.step
        moved = round_index * (step if step >= 1 else step * channels)
        return int(moved + ROUNDING) % channels
