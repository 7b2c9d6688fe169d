"""Published numbers (paper.yaml) that a group of runs can be held against, and in what the runs differ from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from splitmix.reporting.groups import Group, value_word
from splitmix.reporting.report_table import Entry

ATOM = 0.125  # width of the paper's base models
MACS_NOTE = (
    "MACs are true counts of multiply-accumulates per image; the paper's Table 1 prints them ten times too small"
    " (its parameters are right), so its printed numbers stand here times ten."
)


@cache
def numbers() -> dict[str, Any]:
    """The file's content."""
    content: dict[str, Any] = yaml.safe_load((files("splitmix.reporting") / "paper.yaml").read_text(encoding="utf-8"))
    return content


def paper_accuracy(group: Group) -> tuple[dict[float, float], list[str]]:
    """Published accuracy in [0, 1] by width for this group, and notes: its source, and how the runs depart from it.

    Both are empty where nothing of the kind is published: other data, another partition, adversarial training. Notes
    do not name the source where it is the Split-Mix paper.
    """
    settings = group.runs[0].settings
    if settings.get("algorithm.adv_lambda") or other_base_models(settings):
        return {}, []
    for entry in numbers()["accuracy"]:
        if all(settings.get(key) == value for key, value in entry["where"].items()):
            printed = entry["percent"].get(settings["algorithm"], {})
            if not printed:
                continue
            protocol = {**entry["protocol"], "optimizer.lr": entry["lr"].get(settings["algorithm"])}
            departs = [
                f"{key} {value_word(settings[key])} (paper: {value_word(value)})"
                for key, value in protocol.items()
                if key in settings and settings[key] != (tuple(value) if isinstance(value, list) else value)
            ]
            notes = [f"{group.label}: the numbers beneath are those of {entry['source']}"] if "source" in entry else []
            if departs:
                notes.append(f"{group.label} departs from the paper's protocol: {', '.join(departs)}")
            if "note" in entry:
                notes.append(entry["note"])
            return {width: value / 100 for width, value in printed.items()}, notes
    return {}, []


def other_base_models(settings: Mapping[str, Any]) -> bool:
    """Whether Split-Mix ran with base models of other widths than the paper's."""
    return settings.get("algorithm.atom_width", ATOM) != ATOM or bool(settings.get("algorithm.base_widths"))


def budget_notes(group: Group) -> list[str]:
    """What to know when this group's sweep over budgets is held against the paper's."""
    note = numbers()["budget_notes"].get(group.runs[0].settings["algorithm"])
    return [] if note is None else [f"{group.algorithm}: {note}"]


def paper_costs(group: Group, quantity: str) -> dict[float, int]:
    """Table 1's `macs` per image or `params` by width for this group's networks; empty where it has none."""
    settings, paper = group.runs[0].settings, numbers()
    entry = paper["costs"].get(settings["model"], {"datasets": []})
    kind = paper["model_of"].get(settings["algorithm"])
    if settings["dataset"] not in entry["datasets"] or kind is None or settings.get("model.bn") != "batch":
        return {}
    if other_base_models(settings):
        return {}
    counts: dict[float, int] = entry[kind][quantity]
    return counts


def paper_rows(
    columns: Sequence[float], paper: Mapping[float, str], differences: Mapping[float, str]
) -> list[list[Entry | str]]:
    """The rows of a table with the paper's numbers and the differences of ours; none if it has none for a column."""
    if not any(width in paper for width in columns):
        return []
    named = {"paper": paper, "difference": differences}
    return [
        [Entry(name, aside=True), *(Entry(texts.get(width, ""), aside=True) for width in columns)]
        for name, texts in named.items()
    ]
