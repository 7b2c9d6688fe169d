"""Robust accuracy (RA) beside standard accuracy (SA) out of test records: by attack, width and λ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from splitmix.reporting.cells import Cell, collected
from splitmix.reporting.groups import WIDTH_KEY, Group, grouped
from splitmix.reporting.runs import CLEAN, Run
from splitmix.reporting.style import Look

LAMBDA_KEY = "algorithm.adv_lambda"
Attack = tuple[tuple[str, Any], ...]
"""An attack's settings in order, so that they can be a key."""


@dataclass(frozen=True)
class Point:
    """One model under test: λ, and its SA and RA over seeds."""

    adv_lambda: float
    sa: Cell
    ra: Cell


def attacks_of(runs: Sequence[Run]) -> dict[str, Attack]:
    """Attacks in the test records by name; those of one name but other settings are told apart by these."""
    found = list(
        dict.fromkeys(
            tuple(sorted(record["attack"].items()))
            for run in runs
            for record in run.tests()
            if record["attack"]["name"] != CLEAN
        )
    )
    named: dict[str, Attack] = {}
    for attack in found:
        settings = dict(attack)
        alike = [dict(other) for other in found if dict(other)["name"] == settings["name"]]
        differing = [key for key in settings if any(other.get(key) != settings[key] for other in alike)]
        words = ", ".join(f"{key}={settings[key]}" for key in differing)
        named[f"{settings['name']} ({words})" if words else settings["name"]] = attack
    return named


def pairs(run: Run, attack: Attack) -> dict[tuple[float, float], tuple[float, float, bool]]:
    """SA and RA by width and tested λ, and whether both were measured on equally many images.

    Of several tests of one model the one on the most images counts; SA is taken on as many if it was measured so.
    """
    found = {}
    attacked = [record for record in run.tests(bn="trained") if tuple(sorted(record["attack"].items())) == attack]
    for record in sorted(attacked, key=lambda record: record["n_images"]):
        width, adv_lambda = record["width"], record["adv_lambda"]
        clean = run.clean_tests(bn="trained", width=width, adv_lambda=adv_lambda)
        if clean:
            same = [other for other in clean if other["n_images"] == record["n_images"]]
            best = same[0] if same else max(clean, key=lambda other: other["n_images"])
            found[width, adv_lambda] = (best["accuracy"], record["accuracy"], bool(same))
    return found


def in_situ(run: Run) -> bool:
    """Whether one trained model was tested at several λ."""
    return len({record["adv_lambda"] for record in run.tests()}) > 1


def curves_of(runs: Sequence[Run], attack: Attack) -> list[Group]:
    """Groups whose points make one curve: an in-situ method on its own, trained-anew ones with all their λ.

    Runs without both accuracies of any model are left out.
    """
    known = [run for run in runs if pairs(run, attack)]
    situ = [run for run in known if in_situ(run)]
    anew = [run for run in known if not in_situ(run)]
    groups = grouped(situ, label=lambda run: run.label + (" in situ" if run.label in {a.label for a in anew} else ""))
    # The label says the λ of one run, the curve has several.
    return groups + grouped(anew, (WIDTH_KEY, LAMBDA_KEY), lambda run: run.label.partition(" (λ")[0])


def points(group: Group, attack: Attack, width: float) -> list[Point]:
    """The points of a curve at a width, by λ: the tested one in situ, the trained one otherwise."""
    triples = []
    for run in group.runs:
        for (at, tested), (sa, ra, _) in pairs(run, attack).items():
            if at == width:
                adv_lambda = tested if in_situ(run) else float(run.settings.get(LAMBDA_KEY) or 0.0)
                triples.append((adv_lambda, run.seed, sa, ra))
    sas = collected((adv_lambda, seed, sa) for adv_lambda, seed, sa, _ in triples)
    ras = collected((adv_lambda, seed, ra) for adv_lambda, seed, _, ra in triples)
    return [Point(adv_lambda, sas[adv_lambda], ras[adv_lambda]) for adv_lambda in sorted(sas)]


def widths_of(group: Group, attack: Attack) -> list[float]:
    """Widths at which both SA and RA are known."""
    return sorted({width for run in group.runs for width, _ in pairs(run, attack)})


def unequal_images(groups: Sequence[Group], attack: Attack) -> list[str]:
    """In words, the runs whose SA and RA were not measured on equally many images."""
    return [
        f"{run.folder}: SA and RA were not measured on equally many images"
        for group in groups
        for run in group.runs
        if not all(same for _, _, same in pairs(run, attack).values())
    ]


def draw_curve(axes: Axes, label: str, curve: Sequence[Point], look: Look, name_lambdas: bool = True) -> None:
    """RA against SA in per cent, joined in the order of λ; ends of the curve are labelled with their λ."""
    axes.errorbar(
        [100 * point.sa.mean for point in curve],
        [100 * point.ra.mean for point in curve],
        [point.ra.bar for point in curve],
        [point.sa.bar for point in curve],
        elinewidth=0.5,
        label=label,
        **look.keywords(),
    )
    if not name_lambdas:
        return
    for point in curve:
        axes.annotate(
            f"{point.adv_lambda:g}",
            (100 * point.sa.mean, 100 * point.ra.mean),
            xytext=(3.5, 2.5),
            textcoords="offset points",
            fontsize=6,
            color=look.colour,
        )
