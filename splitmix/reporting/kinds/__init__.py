"""The kinds of reports: functions from a comparison of runs to the part that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name

from splitmix.reporting.comparison import CannotShow, Comparison, Part

KINDS = {
    "table1": "table1:make",
    "league": "league:make",
    "macs": "macs:make",
    "convergence": "convergence:make",
    "time": "time:make",
    "clients": "clients:make",
    "domains": "domains:make",
    "metrics": "metrics:make",
    "anytime": "anytime:make",
    "corruptions": "corruptions:make",
    "poison": "poison:make",
    "ablation": "ablation:make",
    "budgets": "budgets:make",
    "participation": "participation:make",
    "privacy": "privacy:make",
    "tradeoff": "robustness:tradeoff",
    "joint": "robustness:joint",
    "dial": "dial:make",
    "transfer": "transfer:make",
    "sanity": "sanity:make",
}
"""Where the function of each kind is."""


def make(kind: str, comparison: Comparison) -> Part:
    """The part of one kind.

    Raises:
        CannotShow: these runs do not have what it needs.
    """
    function: Callable[[Comparison], Part] = resolve_name(f"splitmix.reporting.kinds.{KINDS[kind]}")
    return function(comparison)


def make_all(comparison: Comparison) -> tuple[list[Part], list[str]]:
    """Every part that the runs can show, and in words why the others are left out."""
    parts, skipped = [], []
    for kind in KINDS:
        try:
            parts.append(make(kind, comparison))
        except CannotShow as reason:
            skipped.append(f"skipped: {kind} ({reason})")
    return parts, skipped
