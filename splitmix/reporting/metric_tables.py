"""The metrics of one test record by domain and by class, and its confusion matrix, as rows of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitmix.evaluation.sanity import THRESHOLDS, checks
from splitmix.reporting.tables import METRIC_NAMES, metric_text, verdict
from splitmix.runs.run import CLEAN

MOST_DOWN = 30
"""Classes that are listed; of more, results.json has the numbers."""
MOST_ACROSS = 12
"""Classes whose confusion matrix is printed."""

Rows = list[list[str]]
Detail = tuple[Rows, str, int]
"""Rows with header, a caption, and how many leading columns are words."""


def details(records: Sequence[Mapping[str, Any]]) -> list[Detail]:
    """What one of these test records has by domain and class.

    It is the widest one with metrics, of clean images and the least λ where there are such. Empty if none has any.
    """
    tables = [*corruption_tables(records), *sanity_tables(records)]
    record = widest(records)
    if record is None:
        return tables
    of = f"at ×{record['width']:g}, λ {record['adv_lambda']:g}, attack {record['attack']['name']}"
    if rows := metric_rows(record):
        note = "per class: accuracy and NLL of its images, ECE of those predicted as it"
        tables.append((rows, f"Metrics {of}: all images, each domain, each class, in % (NLL in nats; {note}).", 1))
    matrix = record.get("confusion_matrix")
    if matrix and len(matrix["classes"]) <= MOST_ACROSS:
        rows = matrix_rows(matrix["classes"], matrix["pooled"])
        tables.append((rows, f"Confusion matrix {of}: images by class (down) and predicted class (across).", 1))
    return tables


def corruption_tables(records: Sequence[Mapping[str, Any]]) -> list[Detail]:
    """Accuracy on corrupted images by kind and severity, of the widest record that has it and the least λ."""
    tested = [record for record in records if record.get("corruptions")]
    if not tested:
        return []
    record = max(tested, key=lambda record: (-record["adv_lambda"], record["width"]))
    header = ["images", *(f"severity {severity}" for severity in range(1, 6)), "mean"]
    kinds = record["corruptions"].items()
    lines = [
        [kind.replace("_", " "), *(f"{100 * value:.1f}" for value in values), f"{100 * sum(values) / len(values):.1f}"]
        for kind, values in kinds
    ]
    of = f"at ×{record['width']:g}, λ {record['adv_lambda']:g}"
    return [([header, *lines], f"SA on corrupted images {of}, in %; on clean ones {100 * record['accuracy']:.1f}.", 1)]


def sanity_tables(records: Sequence[Mapping[str, Any]]) -> list[Detail]:
    """Every check for masked gradients of every record that has what it takes."""
    lines = [
        [f"×{record['width']:g}, λ {record['adv_lambda']:g}, {record['attack']['name']}", check.name,
         verdict(check.passed), check.measured]
        for record in records
        if record.get("sanity")
        for check in checks(record["sanity"])
    ]  # fmt: skip
    header = ["model", "check", "verdict", "measured"]
    return [([header, *lines], f"Checks for masked gradients: {THRESHOLDS}.", 4)] if lines else []


def widest(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record that `details` shows."""
    known = [record for record in records if record.get("metrics") or record.get("confusion_matrix")]
    return max(
        known,
        key=lambda record: (record["attack"]["name"] == CLEAN, -record["adv_lambda"], record["width"]),
        default=None,
    )


def metric_rows(record: Mapping[str, Any]) -> Rows:
    """One column per metric; rows for all images, for each domain and for each class."""
    metrics = {name: metric for name, metric in record.get("metrics", {}).items() if name in METRIC_NAMES}
    names = [name for name in METRIC_NAMES if name in metrics]
    if not names:
        return []

    def row(word: str, values: Sequence[float | None]) -> list[str]:
        return [word, *(metric_text(name, value) for name, value in zip(names, values, strict=True))]

    rows = [
        ["images", *(METRIC_NAMES[name] for name in names)],
        row("all", [metrics[name]["pooled"] for name in names]),
    ]
    for part, word in (("per_domain", "domain"), ("per_class", "class")):
        places = list(dict.fromkeys(place for name in names for place in metrics[name][part]))
        if len(places) <= MOST_DOWN:
            rows += [row(f"{word} {place}", [metrics[name][part].get(place) for name in names]) for place in places]
    return rows


def matrix_rows(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Rows:
    """A confusion matrix with the names of its classes."""
    return [["", *classes], *([name, *map(str, row)] for name, row in zip(classes, counts, strict=True))]
