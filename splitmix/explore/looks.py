"""Images as a position of the dials sees them: predictions after each base model, clean and attacked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.data.dataset import to_float
from splitmix.explore.models import Models
from splitmix.randomness import rng
from splitmix.robustness.attacks import Attack
from splitmix.robustness.draws import Draws


@dataclass(frozen=True)
class Look:
    """One image under one model.

    Attributes:
        image, attacked: float `[channels, h, w]` in [0, 1].
        label: its class; None where nobody knows it.
        answers: probabilities `[answers, classes]` of the image after each base model.
        attacked_answers: the same of the attacked image.
    """

    image: Tensor
    attacked: Tensor
    label: int | None
    answers: Tensor
    attacked_answers: Tensor

    @property
    def predicted(self) -> int:
        """The class that the model answers for the image."""
        return int(self.answers[-1].argmax())

    @property
    def attacked_predicted(self) -> int:
        """The class that the model answers for the attacked image."""
        return int(self.attacked_answers[-1].argmax())


def domain_rows(counts: tuple[int, ...], domain: int, page: int, per_page: int, seed: int) -> Tensor:
    """Rows of the test images on one page of a domain: all of its images once, in a random order, then again.

    Args:
        counts: number of test images by domain.
        seed: of the order.
    """
    order = rng(seed, "explore", domain).permutation(counts[domain]) + sum(counts[:domain])
    places = torch.arange(page * per_page, (page + 1) * per_page)[: counts[domain]] % counts[domain]
    return torch.from_numpy(order)[places]


def look_at(
    models: Models,
    images: Tensor,
    labels: Tensor | None,
    width: float,
    adv_lambda: float,
    attack: Attack,
    seed: int = 0,
) -> list[Look]:
    """Images as they are and attacked, each attacked against exactly the model of this position.

    Args:
        images: uint8 or float `[n, channels, h, w]`.
        labels: int64 `[n]`; without them the attack leads away from what the model answers.
        seed: of the attack's draws.
    """
    clean = to_float(images)
    answers = models.answers(clean, width, adv_lambda)
    away_from = answers[-1].argmax(-1) if labels is None else labels
    draws = Draws([rng(seed, "explore", "attack")], [len(clean)])
    attacked = attack.perturb(models.model(width, adv_lambda), clean, away_from, draws)
    attacked_answers = models.answers(attacked, width, adv_lambda)
    return [
        Look(
            clean[number],
            attacked[number],
            None if labels is None else int(labels[number]),
            answers[:, number],
            attacked_answers[:, number],
        )
        for number in range(len(clean))
    ]
