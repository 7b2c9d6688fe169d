"""Whether an attack can be believed: signs of masked gradients, and what counts as a sign.

The signs are those of Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018,
and of Carlini et al., "On Evaluating Adversarial Robustness", 2019 (arXiv 1902.06705). The thresholds are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LADDER = (1, 2, 4, 8, 16)
"""Sizes of the ball, as multiples of the attack's; the first is the attack itself."""
MORE_STEPS = 5
"""So many times the attack's steps."""
RESTARTS = 5
QUERIES = 1000
"""Of the Square attack, per image."""

BLACK_BOX_MARGIN = 0.01
"""RA by which an attack without the model's gradients may be the stronger one, by chance."""
LARGEST_LEAVES = 0.05
"""The most RA that the largest ball may leave."""
MORE_GAINS = 0.03
"""The most RA that more steps, or restarts, may take away."""

THRESHOLDS = (
    f"a check passes where the black box leaves at most {100 * BLACK_BOX_MARGIN:g} point less RA than the attack, the"
    f" largest ε at most {100 * LARGEST_LEAVES:g} %, more steps and restarts at most {100 * MORE_GAINS:g} points less,"
    " and where the mean loss is higher at every ε than at the one before"
)
"""What the numbers are held against, in words."""


@dataclass(frozen=True)
class Check:
    """One sign, looked for.

    Attributes:
        name: what should hold.
        passed: whether it does.
        measured: the numbers.
    """

    name: str
    passed: bool
    measured: str


def checks(sanity: Mapping[str, Any]) -> list[Check]:
    """The signs of masked gradients in what a test record has as `sanity`."""
    white, eps, losses = sanity["accuracy"][0], sanity["eps"], sanity["loss"]
    name, black = min(sanity["black_box"].items(), key=lambda item: item[1])
    steps, restarts = sanity["accuracy_more_steps"], sanity["accuracy_restarts"]
    sizes = f"at ε {' '.join(f'{size:g}' for size in eps)}"
    return [
        Check(
            "black box is not stronger",
            black >= white - BLACK_BOX_MARGIN,
            f"RA {percent(white)}, {name} {percent(black)}",
        ),
        Check(
            "RA falls to 0 as ε grows",
            sanity["accuracy"][-1] <= LARGEST_LEAVES,
            f"RA {' '.join(f'{100 * share:.1f}' for share in sanity['accuracy'])} % {sizes}",
        ),
        Check(
            "loss rises with ε",
            all(small < large for small, large in pairwise(losses)),
            f"loss {' '.join(f'{loss:.3g}' for loss in losses)} {sizes}",
        ),
        Check(
            "more steps do not help much",
            steps >= white - MORE_GAINS,
            f"RA {percent(white)}, with {sanity['more_steps']} steps {percent(steps)}",
        ),
        Check(
            "restarts do not help much",
            restarts >= white - MORE_GAINS,
            f"RA {percent(white)}, worst of {sanity['restarts']} {percent(restarts)}",
        ),
    ]


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.1f} %"
