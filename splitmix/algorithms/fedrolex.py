"""FedRolex: Alam, Liu, Yan, Zhang, "FedRolex: Model-Heterogeneous Federated Learning with Rolling Sub-Model
Extraction", NeurIPS 2022 (arXiv 2212.01548).

HeteroFL whose slice starts one channel further in every layer each round, so that all channels are trained equally by
clients of every budget. A model of a width is the first channels, as for HeteroFL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.base import Problem
from splitmix.algorithms.slices import SliceMethod, bound
from splitmix.errors import UserError
from splitmix.models.network import Model


@dataclass(frozen=True)
class FedRolex:
    """Settings of `algorithm=fedrolex`.

    Attributes:
        rescale_layer: divide the outputs of sliced layers by the slice's width while training.
        step: channels that the window moves on per round.
    """

    name: ClassVar[str] = "fedrolex"
    label: ClassVar[str] = "FedRolex"

    rescale_layer: bool = True
    step: int = 1

    def bind(self, model: Model, problem: Problem) -> SliceMethod:
        """Check the settings against the model and the problem (UserError)."""
        if self.step < 0:
            raise UserError(f"algorithm.step={self.step}: give 0 or more")
        return bound(FedRolexMethod, self, model, problem)


@dataclass(frozen=True)
class FedRolexMethod(SliceMethod):
    """FedRolex bound to a model and a problem."""

    settings: FedRolex

    def offset(self, round_index: int) -> int:
        return round_index * self.settings.step
