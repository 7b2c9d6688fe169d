"""How often a backdoor opens: images that a patch turns into the class that malicious clients chose."""

from __future__ import annotations

from splitmix.evaluation.predictions import Predictions


def backdoor_success(patched: Predictions, target: int) -> float | None:
    """The share of patched images of other classes, of all clients, that are taken for the target class, in [0, 1].

    None where there is no such image.
    """
    others = patched.where(patched.label != target)
    return float((others.predicted == target).double().mean()) if len(others.label) else None
