"""What the page shows at each position of the dials, as plain values; it knows nothing of how a page is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from splitmix.explore.attacks import attack_of, standard_attack
from splitmix.explore.looks import Look, domain_rows, look_at
from splitmix.explore.measured import Measured, Record, TestedAttack, measured, nearest
from splitmix.explore.models import Models
from splitmix.explore.picture import Picture, draw
from splitmix.models.dependence import needs_calibration
from splitmix.robustness.attacks import Attack
from splitmix.runs.loaded import Calibration, LoadedRun

BYTES_PER_PARAMETER = 4
LATENCY_PASSES = 30
IMAGES_PER_PAGE = 8
LEVEL_STEP = 0.05


@dataclass(frozen=True)
class Numbers:
    """What is known of the model at one position of the dials.

    Attributes:
        sa, ra: test records, those of the tested level nearest to `adv_lambda`; None where there are none.
        macs: multiply-accumulates per image.
        params: parameters.
        bytes: of the parameters, as float32.
        latency_ms: median milliseconds of one image on this machine.
    """

    width: float
    adv_lambda: float
    sa: Record | None
    ra: Record | None
    macs: float
    params: int
    bytes: int
    latency_ms: float

    @property
    def tested_level(self) -> float | None:
        """The level of the test records; None without any."""
        record = self.sa or self.ra
        return None if record is None else record["adv_lambda"]


class Explorer:
    """A run, its test records and its models. Everything that takes long is computed once.

    Args:
        run: the run.
        calibration: images that fix batch-normalisation statistics where the run keeps none.

    Attributes:
        attacks: by label, what images can be attacked with, and the tests under it (None without any).
    """

    def __init__(self, run: LoadedRun, calibration: Calibration = "train"):
        self.run = run
        self.models = Models(run, calibration)
        self.measured: Measured = measured(run.results, run.checkpoint, run.state.round)
        self.attacks: dict[str, tuple[Attack | None, TestedAttack | None]] = {
            tested.label: (attack_of(tested.settings), tested) for tested in self.measured.attacks
        }
        if not self.attacks:
            attack = standard_attack()
            settings = {"name": attack.name, **vars(attack)}
            self.attacks[TestedAttack(settings, {}).label] = attack, None
        self._pictures: dict[str, Picture | None] = {}

    @property
    def dual(self) -> bool:
        """Whether there is a level of robustness to choose."""
        return len(self.run.adv_lambdas) > 1

    @cached_property
    def costs(self) -> Mapping[float, tuple[float, int]]:
        """MACs and parameters by width."""
        return self.models.costs()

    @cached_property
    def latencies_ms(self) -> Mapping[float, float]:
        """Milliseconds of one image by width."""
        return self.models.latencies_ms(LATENCY_PASSES)

    def width_at(self, position: float) -> float:
        """The width of the run that is nearest to a position of the dial."""
        return nearest(self.run.widths, position)

    def numbers(self, width: float, adv_lambda: float, attack: str) -> Numbers:
        """What is known of a model; `attack` is a key of `attacks`."""
        macs, params = self.costs[width]
        return Numbers(
            width=width,
            adv_lambda=adv_lambda,
            sa=self.measured.clean_at(width, adv_lambda),
            ra=self.measured.attacked_at(self.attacks[attack][1], width, adv_lambda),
            macs=macs,
            params=params,
            bytes=BYTES_PER_PARAMETER * params,
            latency_ms=self.latencies_ms[width],
        )

    def picture(self, attack: str) -> Picture | None:
        """The picture of all tested models; None for a run that was not tested."""
        if attack not in self._pictures:
            macs = {width: cost[0] for width, cost in self.costs.items()}
            self._pictures[attack] = draw(self.measured, macs, self.attacks[attack][1])
        return self._pictures[attack]

    def test_images(self, domain: str, page: int, width: float, adv_lambda: float, attack: str) -> list[Look]:
        """Some test images of a domain under the model of a position."""
        test = self.run.dataset.test
        rows = domain_rows(
            test.counts, self.run.domains.index(domain), page, IMAGES_PER_PAGE, self.run.config.scalars.seed
        )
        return self.look(test.images[rows], test.labels[rows], width, adv_lambda, attack)

    def own_image(self, image: Tensor, width: float, adv_lambda: float, attack: str) -> Look:
        """The user's image `[channels, h, w]` (uint8) under the model of a position."""
        return self.look(image[None], None, width, adv_lambda, attack)[0]

    def look(self, images: Tensor, labels: Tensor | None, width: float, adv_lambda: float, attack: str) -> list[Look]:
        """`look_at` with the named attack, or the paper's where that one takes too long."""
        return look_at(self.models, images, labels, width, adv_lambda, self.attacks[attack][0] or standard_attack())

    @property
    def statistics(self) -> str:
        """Where the batch-normalisation statistics come from, in words."""
        network = self.run.method.server_network
        if needs_calibration(network):
            return f"estimated on calibration={self.models.calibration}"
        return "of the training" if network.tracked else "none (no batch normalisation)"

    def facts(self) -> dict[str, Any]:
        """What the head of the page says of the run."""
        run = self.run
        return {
            "method": run.config.algorithm.label,
            "model": run.config.model.name,
            "dataset": run.config.dataset.name,
            "folder": run.folder.name,
            "checkpoint": run.checkpoint,
            "rounds": run.state.round,
            "statistics": self.statistics,
        }


def change_of(look: Look) -> Tensor:
    """What an attack changed, `[channels, h, w]` in [0, 1]: grey is no change, the largest change is black or white."""
    change = look.attacked - look.image
    return 0.5 + 0.5 * change / change.abs().max().clamp_min(torch.finfo(change.dtype).eps)
