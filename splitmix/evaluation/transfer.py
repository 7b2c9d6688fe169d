"""Attacks made at one width and level of robustness, tested at another: does one model give away the others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from splitmix.evaluation.chunks import Chunk, Turns
from splitmix.evaluation.customized import CustomizedLanes, CustomizedModel
from splitmix.evaluation.robust import Aim, attackable_together, prepared_lanes
from splitmix.evaluation.task import ClientsTask, Measuring

Place = tuple[float, float]
"""A width and a level of robustness."""


@dataclass(frozen=True)
class Transfer:
    """Share of right predictions of every model on images that were attacked against every model, in [0, 1].

    Attributes:
        places: width and level of the models, in the order of sources and targets.
        per_client: float64 `[clients, sources, targets]`.
        worst: float64 `[clients, targets]`: images that the target gets right whichever source they were attacked at.
        n_images: number of images.
    """

    places: tuple[Place, ...]
    per_client: Tensor
    worst: Tensor
    n_images: int

    def mean(self) -> dict[Place, dict[Place, float]]:
        """Unweighted mean over all clients, by target and by source."""
        means = self.per_client.mean(0).T.tolist()
        return {
            target: dict(zip(self.places, row, strict=True)) for target, row in zip(self.places, means, strict=True)
        }

    def worst_mean(self) -> dict[Place, float]:
        """The mean of `worst` over all clients, by target."""
        return dict(zip(self.places, self.worst.mean(0).tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class TransferTask(ClientsTask[Transfer]):
    """Images attacked at each of the widths and levels, predicted at each of them. It must have an attack.

    Attributes:
        adv_lambdas: the levels of robustness.
    """

    adv_lambdas: tuple[float, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        return self.adv_lambdas

    def measured(self, given: Measuring) -> Transfer:
        assert self.attack is not None
        images, calibration, clients = given.images, given.calibration, given.clients
        aim = Aim(images, self.attack, given.dtype, given.seed, self.first)
        lanes: list[CustomizedLanes] = []
        models: dict[Place, CustomizedModel] = {}
        for (index, level), (number, group) in product(enumerate(self.levels), enumerate(given.groups)):
            shared = None if given.statistics is None else given.statistics[index][number]
            lanes.append(prepared_lanes(group, level, aim, calibration is not None, shared, clients))
            models |= {(width, level): lanes[-1].model(width) for width in group.sizes}
        places = tuple((width, level) for level in self.levels for width in self.widths)
        together = all(attackable_together(group.spec, clients, calibration) for group in given.groups)
        turns = Turns(
            lanes,
            self.batches,
            range(len(places)),
            calibration,
            self.attack.images_per_call if together else 1,
            given.free_memory,
        )
        right = torch.zeros(len(self.batches), len(places), len(places), dtype=torch.float64)
        # Of every image of the split, whether a target was ever wrong on it.
        fooled = torch.zeros(len(images.labels), len(places), dtype=torch.bool)
        ordered = {number: models[place] for number, place in enumerate(places)}
        for chunk, source, hits in turns.done(partial(right_everywhere, aim, ordered)):
            right[:, source].index_add_(0, chunk.owner(), hits.double())
            fooled[torch.cat(chunk.rows).cpu()] |= ~hits
        counts = torch.tensor([sum(len(rows) for rows in client) for client in self.batches])
        held = torch.stack([(~fooled[torch.cat(list(client)).cpu()]).double().mean(0) for client in self.batches])
        return Transfer(places, right / counts[:, None, None], held, int(counts.sum()))

    def joined(self, parts: Sequence[Transfer]) -> Transfer:
        per_client, worst = (torch.cat([getattr(part, name) for part in parts]) for name in ("per_client", "worst"))
        return Transfer(parts[0].places, per_client, worst, sum(part.n_images for part in parts))


def right_everywhere(aim: Aim, models: Mapping[int, CustomizedModel], chunk: Chunk, source: int) -> Tensor:
    """Which models are right on a chunk's images attacked against one of them: bool `[n, models]`, on the CPU."""
    attacked, labels = aim.attacked(models[source], chunk)
    return torch.stack([model(attacked).argmax(-1) == labels for model in models.values()], 1).cpu()
