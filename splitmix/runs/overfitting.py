"""The guard of fast adversarial training: RA under its own attack beside RA under the attack of validation."""

from __future__ import annotations

import logging

from splitmix.algorithms.values import ServerState
from splitmix.evaluation.accuracy import Accuracy
from splitmix.federation.federation import Federation
from splitmix.robustness.fgsm_rs import overfits

log = logging.getLogger("splitmix")


def warn_of_overfitting(federation: Federation, state: ServerState, ra: Accuracy, max_images: int | None) -> None:
    """Warn if the model withstands only the attack that it was trained on.

    Nothing is measured where training is validated under its own attack, or where the images are on other machines.

    Args:
        ra: of the validation, at all validated widths.
        max_images: validation images that it used.
    """
    attack = federation.problem.attack
    if attack.validation == attack or not federation.has_images:
        return
    width, validated = list(ra.mean().items())[-1]
    trained = federation.validate_robust(state, [width], max_images, attack).mean()[width]
    if overfits(trained, validated):
        log.warning(
            f"round {state.round}: catastrophic overfitting at ×{width:g}: RA {100 * trained:.1f} % under"
            f" {attack.name}, {100 * validated:.1f} % under {attack.validation.name}; take an earlier round, or train"
            " with train_attack=linf_pgd or a smaller optimizer.lr"
        )
