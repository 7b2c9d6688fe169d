"""Tests of a federation's models on images that were attacked against other ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.values import ServerState
from splitmix.evaluation.transfer import Transfer, TransferTask
from splitmix.federation.federation import Federation
from splitmix.federation.in_parts import InParts
from splitmix.federation.tested import tested_places
from splitmix.robustness.attacks import Attack


def transferred(
    federation: Federation,
    state: ServerState,
    widths: Sequence[float],
    adv_lambdas: Sequence[float],
    attack: Attack,
    *,
    batch_size: int = 128,
    bn: str = "trained",
    max_images: int | None = None,
    images: str = "test",
    progress: Callable[[int, int], object] = lambda done, clients: None,
) -> Transfer:
    """Attack every client's test images at each width and level, and predict them at each width and level.

    Attacks draw as those of `Federation.test`, so that the accuracy of a model under its own attack is the same.

    Args:
        adv_lambdas: levels of robustness, in [0, 1].
        batch_size, bn, max_images, images: as for `Federation.test`.
        progress: called with the number of clients done, and of all, before the first and after some.

    Raises:
        UserError: a width or a level that the method cannot give; what `Federation.test` refuses.
    """
    for level in adv_lambdas:
        check_adv_lambda(federation.method, level)
    places = tested_places(federation, state, widths, batch_size, bn, max_images, images)
    task = TransferTask(**places, adv_lambdas=tuple(adv_lambdas), attack=attack, rounds=state.round)
    return InParts(progress).evaluate(federation.engine, federation.method, state, task)
