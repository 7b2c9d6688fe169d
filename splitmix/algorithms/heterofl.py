"""HeteroFL: Diao, Ding, Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning for
Heterogeneous Clients", ICLR 2021 (arXiv 2010.01264), with batch statistics, as Hong et al., ICLR 2022, compare with it.

One full network; a client trains its first channels, as many as its budget allows; every entry is averaged over the
clients that trained it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.algorithms.base import Problem
from splitmix.algorithms.slices import SliceMethod, bound
from splitmix.models.network import Model


@dataclass(frozen=True)
class HeteroFL:
    """Settings of `algorithm=heterofl`.

    Attributes:
        rescale_layer: divide the outputs of sliced layers by the slice's width while training.

    Where we differ from the authors' code (HeteroFL by diaoenmao: src/fed.py, models/resnet.py): it weighs clients
    equally, not by their samples; it clips gradients at norm 1 (`optimizer.clip_norm=1`); it merges classifier rows
    only from clients that have the label, and masks the labels that a client lacks, where a label-skewed partition
    here masks those that the batch lacks. Its static batch normalisation is `test.bn=static`. Its budgets may be drawn
    anew each round (`budget.redraw=round`).
    """

    name: ClassVar[str] = "heterofl"
    label: ClassVar[str] = "HeteroFL"

    rescale_layer: bool = True

    def bind(self, model: Model, problem: Problem) -> SliceMethod:
        """Check the settings against the model and the problem (UserError)."""
        return bound(SliceMethod, self, model, problem)
