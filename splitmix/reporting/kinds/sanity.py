"""Whether attacks can be believed: every check for masked gradients, passed or failed, with its numbers."""

from __future__ import annotations

from typing import Any

from splitmix.evaluation.sanity import THRESHOLDS, checks
from splitmix.reporting.attacked import attacks_of
from splitmix.reporting.comparison import CannotShow, Comparison, Part
from splitmix.reporting.groups import grouped
from splitmix.reporting.report_table import Entry, Table
from splitmix.reporting.tables import verdict

PLACE = ["method", "seed", "attack", "width", "λ"]
RESULT = ["check", "verdict", "measured"]


def make(comparison: Comparison) -> Part:
    """A table with a row for each check of each tested model, and how many fail."""
    rows: list[list[Entry | str]] = []
    numbers: list[dict[str, Any]] = []
    for group in grouped([run for run in comparison.runs if any(record.get("sanity") for record in run.tests())]):
        attacks = {attack: name for name, attack in attacks_of(group.runs).items()}
        for run in group.runs:
            for record in run.tests():
                if not record.get("sanity"):
                    continue
                name = attacks[tuple(sorted(record["attack"].items()))]
                place = [group.label, str(run.seed), name, f"×{record['width']:g}", f"{record['adv_lambda']:g}"]
                model = f"{group.label}, seed {run.seed}, {place[3]}, λ {place[4]}, {name}"
                for check in checks(record["sanity"]):
                    line = [check.name, verdict(check.passed), check.measured]
                    rows.append([model, check.name, Entry(line[1], best=not check.passed), check.measured])
                    named = dict(zip([*PLACE, *RESULT], [*place, *line], strict=True))
                    numbers.append({**named, "images": record["n_images"]})
    if not rows:
        raise CannotShow("no attack was checked: splitmix test run=<folder> attack=[none,linf_pgd] test.sanity=true")
    failed = sum(line["verdict"] == verdict(False) for line in numbers)
    caption = f"Checks for masked gradients on {comparison.dataset}: RA and mean loss of attacked test images."
    notes = [f"on {' or '.join(map(str, sorted({line['images'] for line in numbers})))} test images", THRESHOLDS]
    lead = [f"{failed} of {len(numbers)} checks for masked gradients failed on {comparison.dataset}."]
    table = Table("sanity", caption, ["model", *RESULT], rows, numbers, words=4, notes=notes)
    return Part("sanity", "Checks for masked gradients", [table], lead=lead)
