"""InclusiveFL: Liu, Wu, Tao, Wu, Huang, Xie, "No One Left Behind: Inclusive Federated Learning over Heterogeneous
Devices", KDD 2022 (arXiv 2202.08036), as DepthFL's authors compare with it.

One network with exits; a client holds as many of its stages as its budget allows and trains the last exit alone; each
stage is averaged over the clients that hold it, and each exit over those of its depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.base import Problem
from splitmix.algorithms.exits import ExitMethod, ExitSettings, bound_exits
from splitmix.errors import UserError
from splitmix.models.network import Model, NetworkSpec


@dataclass(frozen=True)
class InclusiveFL(ExitSettings):
    """Settings of `algorithm=inclusivefl`.

    Attributes:
        exits, weighting: see `ExitSettings`.

    Where we differ from DepthFL's authors' code, in which it is `fit_config.extended=false` (adap/flower:
    baselines/depthfl, models.py): a depth is tested by its own exit, where that code takes the mean over all exits; the
    exits and batch normalisation differ as for DepthFL. The paper's momentum distillation, by which the last layer of a
    small model also takes the mean gradient of the layers that it lacks, is not offered, there neither.
    """

    name: ClassVar[str] = "inclusivefl"
    label: ClassVar[str] = "InclusiveFL"

    def bind(self, model: Model, problem: Problem) -> ExitMethod:
        """Check the settings against the model and the problem (UserError)."""
        return bound_exits(InclusiveFLMethod, self, model, problem)


@dataclass(frozen=True)
class InclusiveFLMethod(ExitMethod):
    """InclusiveFL bound to a model and a problem."""

    settings: InclusiveFL

    def trained_exits(self, width: float) -> tuple[int, ...]:
        return self.places[: self.held(width)][-1:]

    def network(self, width: float) -> NetworkSpec:
        """The network that predicts at a width; UserError where no client trains an exit of its depth."""
        spec = super().network(width)
        if spec.depth not in self.full.exits:
            raise UserError(
                f"width {width:g}: algorithm=inclusivefl trains one exit for each depth, and no client has this one;"
                f" choose from {', '.join(f'{known:g}' for known in self.widths)}"
            )
        return spec
