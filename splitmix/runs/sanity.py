"""Measures what tells whether an attack on a run can be believed, for `splitmix.evaluation.sanity`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from splitmix.algorithms.values import ServerState
from splitmix.errors import UserError
from splitmix.evaluation.sanity import LADDER, MORE_STEPS, QUERIES, RESTARTS
from splitmix.federation.federation import Federation
from splitmix.federation.transferred import transferred
from splitmix.robustness.attacks import Attack, GradientSteps
from splitmix.robustness.autoattack import Square
from splitmix.robustness.restarts import Restarted
from splitmix.test_settings import TestSettings


def measure_sanity(
    federation: Federation,
    state: ServerState,
    test: TestSettings,
    records: Sequence[Mapping[str, Any]],
    adv_lambda: float,
    attack: GradientSteps,
    say: Callable[[str], object],
) -> dict[float, dict[str, Any]]:
    """What these test records keep as `sanity`, by width.

    RA and loss at the attack's own size are those of the records: it is not made once more. The black box is the same
    attack made against another of the widths, and the Square attack where it bounds the same norm and its package is
    installed.

    Args:
        records: of the attack at this level, on the images of `test`.
        say: told what is measured next.

    Raises:
        UserError: there is no black box.
    """
    start = perf_counter()
    settings: dict[str, Any] = {name: getattr(test, name) for name in ("batch_size", "bn", "max_images", "images")}
    asked_attack, *larger = [attack.scaled(factor) for factor in LADDER]
    eps = [asked_attack.eps, *(step.eps for step in larger)]
    by_width: dict[float, dict[str, Any]] = {
        record["width"]: {"eps": eps, "accuracy": [record["accuracy"]], "loss": [record["loss"]], "black_box": {}}
        for record in records
    }
    widths = list(by_width)
    square = attack.norm == math.inf and find_spec("pyautoattack") is not None
    if len(widths) < 2 and not square:
        raise UserError(
            "test.sanity=true: needs an attack without the model's gradients: test two widths, or an attack in the"
            " L-infinity norm after pip install 'splitmix[autoattack]'"
        )

    def accuracies(used: Attack, words: str) -> dict[float, float]:
        say(words)
        return federation.test(state, widths, adv_lambda=adv_lambda, attack=used, **settings).mean()

    for step in larger:
        say(f"ε {step.eps:g}")
        accuracy = federation.test(state, widths, adv_lambda=adv_lambda, attack=step, predictions=True, **settings)
        for width, mean in accuracy.mean().items():
            by_width[width]["accuracy"].append(mean)
            by_width[width]["loss"].append(float(accuracy.predictions[width].loss.mean()))
    steps = MORE_STEPS * attack.steps
    for width, mean in accuracies(replace(attack, steps=steps), f"{steps} steps").items():
        by_width[width] |= {"more_steps": steps, "accuracy_more_steps": mean}
    for width, mean in accuracies(Restarted(attack, RESTARTS), f"{RESTARTS} restarts").items():
        by_width[width] |= {"restarts": RESTARTS, "accuracy_restarts": mean}
    if square:
        for width, mean in accuracies(Square(attack.eps, QUERIES), f"Square, {QUERIES} queries").items():
            by_width[width]["black_box"]["square"] = mean
    if len(widths) > 1:
        say("made at other widths")
        means = transferred(federation, state, widths, (adv_lambda,), attack, **settings).mean()
        for (width, _), by_source in means.items():
            for (source, _), mean in by_source.items():
                if source != width:
                    by_width[width]["black_box"][f"made at ×{source:g}"] = mean
    seconds = (perf_counter() - start) / len(widths)
    return {width: {**values, "seconds": seconds} for width, values in by_width.items()}
