"""HeteroFL: Diao, Ding, Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning for
Heterogeneous Clients", ICLR 2021 (arXiv 2010.01264), with batch statistics, as Hong et al., ICLR 2022, compare with it.

One full network; a client trains its first channels, as many as its budget allows; every entry is averaged over the
clients that trained it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.base import Problem
from splitmix.algorithms.own_labels import WEIGHTINGS, OwnLabelMethod
from splitmix.algorithms.slices import SliceMethod, bound, check_weighting
from splitmix.models.network import Model


@dataclass(frozen=True)
class HeteroFL:
    """Settings of `algorithm=heterofl`.

    Attributes:
        rescale_layer: divide the outputs of sliced layers by the slice's width while training.
        weighting: `samples`: a client weighs as many as its training samples in the average; `clients`: all weigh the
            same.
        label_aware: the loss ignores the classes that a client lacks, and a row of the classifier is averaged over the
            clients alone that have its class.

    Where we differ from the authors' code (HeteroFL by diaoenmao: src/fed.py, models/resnet.py) by default: it weighs
    clients equally (`algorithm.weighting=clients`); it clips gradients at norm 1 (`optimizer.clip_norm=1`); it knows
    the classes of a client (`algorithm.label_aware=true`), where a label-skewed partition here masks those that the
    batch lacks. Its static batch normalisation is `test.bn=static`. Its budgets may be drawn anew each round
    (`budget.redraw=round`). It masks the classes that a client lacks in that client's own test: here a metric of its
    own (`test.metrics=own_accuracy`).
    """

    name: ClassVar[str] = "heterofl"
    label: ClassVar[str] = "HeteroFL"

    rescale_layer: bool = True
    weighting: str = "samples"
    label_aware: bool = False

    def bind(self, model: Model, problem: Problem) -> SliceMethod:
        """Check the settings against the model and the problem (UserError)."""
        check_weighting(self.weighting, WEIGHTINGS)
        return bound(OwnLabelMethod, self, model, problem)
