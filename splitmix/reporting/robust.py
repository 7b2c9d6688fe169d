"""Robust accuracy (RA) beside standard accuracy (SA) out of test records: by attack, width and λ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from splitmix.reporting.cells import Cell, collected
from splitmix.reporting.groups import WIDTH_KEY, Group, grouped
from splitmix.reporting.point_labels import Label, label_points
from splitmix.reporting.runs import CLEAN, Run, in_situ
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


def pairs(run: Run, attack: Attack) -> dict[tuple[float, float], tuple[float, float, tuple[int, int]]]:
    """SA and RA by width and tested λ, and on how many images each was measured.

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
            images = (best["n_images"], record["n_images"])
            found[width, adv_lambda] = (best["accuracy"], record["accuracy"], images)
    return found


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


def image_notes(groups: Sequence[Group], attack: Attack) -> list[str]:
    """In words, on how many images SA and RA were measured."""
    by_count: dict[tuple[int, int], list[str]] = {}
    for group in groups:
        for run in group.runs:
            for *_, images in pairs(run, attack).values():
                by_count.setdefault(images, []).append(group.label)
    notes = []
    for (clean, attacked), labels in by_count.items():
        told = f"SA and RA on {attacked}" if clean == attacked else f"SA on {clean} and RA on {attacked}"
        of = "" if len(by_count) == 1 else f": {', '.join(dict.fromkeys(labels))}"
        notes.append(f"{told} test images, all clients together{of}")
    return notes


def draw_curves(axes: Axes, curves: Mapping[str, Sequence[Point]], looks: Sequence[Look]) -> None:
    """RA against SA in per cent, a curve for each label, joined in the order of λ."""
    for (label, curve), look in zip(curves.items(), looks, strict=True):
        axes.errorbar(
            [100 * point.sa.mean for point in curve],
            [100 * point.ra.mean for point in curve],
            [point.ra.bar for point in curve],
            [point.sa.bar for point in curve],
            elinewidth=0.5,
            label=label,
            **look.keywords(),
        )
    axes.set_xlabel("SA (%)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.margins(0.1)


def name_lambdas(
    figure: Figure,
    axes: Axes,
    curves: Mapping[str, Sequence[Point]],
    looks: Sequence[Look],
    only: Collection[str] | None = None,
) -> None:
    """Write its λ beside every point of these curves (all of them by default); the last thing to do to a figure."""
    places = {label: [(100 * p.sa.mean, 100 * p.ra.mean) for p in curve] for label, curve in curves.items()}
    labels = [
        Label(x, y, f"{point.adv_lambda:g}", look.colour)
        for (label, curve), look in zip(curves.items(), looks, strict=True)
        if only is None or label in only
        for (x, y), point in zip(places[label], curve, strict=True)
    ]
    label_points(figure, axes, labels, list(places.values()))
