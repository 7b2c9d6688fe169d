"""Robust accuracy (RA) beside standard accuracy (SA) out of test records: by attack, method, width and λ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from splitmix.reporting.groups import WIDTH_KEY, Group, grouped
from splitmix.reporting.seeds import over_seeds
from splitmix.runs.run import CLEAN, Run, in_situ

LAMBDA_KEY = "algorithm.adv_lambda"
PLACE = ["method", "width", "adv_lambda"]
Attack = tuple[tuple[str, Any], ...]
"""An attack's settings in order, so that they can be a key."""


def attacks_of(
    runs: Sequence[Run], tests: Callable[[Run], list[dict[str, Any]]] = lambda run: run.tests()
) -> dict[str, Attack]:
    """Attacks in the test records by name; those of one name but other settings are told apart by these."""
    attacks = dict.fromkeys(
        tuple(sorted(record["attack"].items()))
        for run in runs
        for record in tests(run)
        if record["attack"]["name"] != CLEAN
    )
    named: dict[str, Attack] = {}
    for attack in attacks:
        settings = dict(attack)
        alike = [dict(other) for other in attacks if dict(other)["name"] == settings["name"]]
        differing = [key for key in settings if any(other.get(key) != settings[key] for other in alike)]
        words = ", ".join(f"{key}={settings[key]}" for key in differing)
        named[f"{settings['name']} ({words})" if words else settings["name"]] = attack
    return named


def pairs(
    run: Run, attack: Attack, checkpoint: str = "best"
) -> dict[tuple[float, float], tuple[dict[str, Any], dict[str, Any]]]:
    """The records of SA and RA by width and tested λ.

    Of several tests of one model the one on the most images counts; SA is taken on as many if it was measured so.
    """
    both = {}
    tests = run.tests(bn="trained", checkpoint=checkpoint)
    attacked = [record for record in tests if tuple(sorted(record["attack"].items())) == attack]
    for record in sorted(attacked, key=lambda record: record["n_images"]):
        width, adv_lambda, images = record["width"], record["adv_lambda"], record["n_images"]
        clean = run.clean_tests(bn="trained", checkpoint=checkpoint, width=width, adv_lambda=adv_lambda)
        best = max(clean, key=lambda other: (other["n_images"] == images, other["n_images"]), default=None)
        if best is not None:
            both[width, adv_lambda] = (best, record)
    return both


def curves_of(runs: Sequence[Run], attack: Attack) -> list[Group]:
    """Groups whose points make one curve: an in-situ method on its own, trained-anew ones with all their λ.

    Runs without both accuracies of any model are left out.
    """
    known = [run for run in runs if pairs(run, attack)]
    situ, anew = ([run for run in known if in_situ(run) is several] for several in (True, False))
    names = {run.label for run in anew}
    groups = grouped(situ, label=lambda run: f"{run.label} in situ" if run.label in names else run.label)
    # The label says the λ of one run, the curve has several.
    return groups + grouped(anew, (WIDTH_KEY, LAMBDA_KEY), lambda run: run.label.partition(" (λ")[0])


def points(groups: Iterable[Group], attack: Attack) -> pd.DataFrame:
    """SA and RA over seeds, as `sa_mean`, `ra_mean` and so on, by method, width and λ.

    λ is the tested one in situ, the trained one otherwise.
    """
    lines = []
    for group in groups:
        for run in group.runs:
            for (width, tested), records in pairs(run, attack).items():
                adv_lambda = tested if in_situ(run) else float(run.settings.get(LAMBDA_KEY) or 0.0)
                place = {"method": group.label, "seed": run.seed, "width": width, "adv_lambda": adv_lambda}
                lines.append([{**place, "sa": of["accuracy"], **interval_of(of)} for of in records])
    sides = ([line[side] for line in lines] for side in (0, 1))
    sa, ra = (over_seeds(side, PLACE).set_index([*PLACE, "seeds"]) for side in sides)
    return sa.add_prefix("sa_").join(ra.add_prefix("ra_")).reset_index()


def interval_of(record: dict[str, Any]) -> dict[str, float]:
    """The interval of a record's accuracy, if it was measured."""
    return {end: record[end] for end in ("low", "high") if record.get(end) is not None}


def pair_notes(groups: Sequence[Group], attack: Attack) -> list[str]:
    """In words, on how many images SA and RA were measured."""
    by_count: dict[tuple[int, int], list[str]] = {}
    for group in groups:
        for run in group.runs:
            for sa, ra in pairs(run, attack).values():
                by_count.setdefault((sa["n_images"], ra["n_images"]), []).append(group.label)
    notes = []
    for (clean, attacked), labels in by_count.items():
        counts = f"SA and RA on {attacked}" if clean == attacked else f"SA on {clean} and RA on {attacked}"
        of = "" if len(by_count) == 1 else f": {', '.join(dict.fromkeys(labels))}"
        notes.append(f"{counts} test images, all clients together{of}")
    return notes
