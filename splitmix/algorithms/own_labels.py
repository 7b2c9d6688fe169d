"""Rules of HeteroFL's and FedRolex's authors beside slicing: equal clients, and what happens to classes they lack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch

from splitmix.algorithms.averaging import add_slices
from splitmix.algorithms.base import ClientResult, LaneBatch, LocalTraining, Objective
from splitmix.algorithms.objectives import lane_cross_entropy
from splitmix.algorithms.slices import SliceMethod
from splitmix.algorithms.values import Aggregate, ClientTask, Update
from splitmix.models.channels import classifier_entries
from splitmix.models.network import LaneNetwork, Tensors

WEIGHTINGS = ("samples", "clients")
PRESENT = "present"
"""The extra of an update: float `[1, classes]`, 1 for the classes that the client has images of."""


def weighted(update: Update, weighting: str) -> Update:
    """The update with the weight that `algorithm.weighting` gives: 1 for `clients`, as it is for `samples`."""
    return replace(update, weight=1.0) if weighting == "clients" else update


class OwnLabelSettings(Protocol):
    """What the settings of such a method must tell."""

    name: ClassVar[str]

    @property
    def rescale_layer(self) -> bool: ...

    @property
    def weighting(self) -> str: ...

    @property
    def label_aware(self) -> bool: ...


@dataclass(frozen=True)
class OwnLabelMethod(SliceMethod):
    """Slices, with the two rules above as settings.

    With `label_aware` the loss multiplies the logits of classes that the client lacks by 0, and the server averages a
    row of the classifier over the clients alone that have the class (HeteroFL by diaoenmao: src/models/resnet.py and
    src/fed.py). The server then learns which classes a client has.
    """

    settings: OwnLabelSettings

    @property
    def uses_classes(self) -> bool:
        return self.settings.label_aware

    def objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        if not self.settings.label_aware:
            return super().objective(network, batch)
        logits = network(batch.images) * batch.present.unsqueeze(1)
        return Objective.of(lane_cross_entropy(logits, batch.labels), logits, batch.labels)

    def finish(self, task: ClientTask, memory: Tensors, tensors: Tensors, training: LocalTraining) -> ClientResult:
        result = super().finish(task, memory, tensors, training)
        return replace(result, extras={PRESENT: training.present.unsqueeze(0)}) if self.uses_classes else result

    def accumulate(self, aggregate: Aggregate, update: Update) -> Aggregate:
        update = weighted(update, self.settings.weighting)
        if not self.settings.label_aware:
            return super().accumulate(aggregate, update)
        present = (update.extras[PRESENT] > 0).to(torch.float32)  # a client cannot give a row more weight than its own
        shares = {
            name: present.view(1, -1, *(1,) * (update.tensors[name].dim() - 2))
            for name in classifier_entries(self.full)
        }
        return add_slices(aggregate, update, shares)

    def upload_entries(self, budget: float) -> int:
        """The slice, and a value for each class in a label-aware run."""
        return super().upload_entries(budget) + (self.problem.classes if self.settings.label_aware else 0)

    def download_entries(self, budget: float) -> int:
        return super().upload_entries(budget)
