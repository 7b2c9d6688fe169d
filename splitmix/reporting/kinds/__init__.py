"""The kinds of reports, one file each: a function from a comparison of runs to the part that shows it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from splitmix.reporting.comparison import CannotShow, Comparison, Part

KINDS = {
    "table1": "test accuracy by method and width",
    "macs": "true MACs and parameters, accuracy against MACs",
    "convergence": "validation accuracy against rounds",
    "clients": "accuracy, MACs per batch and parameters per round of each client",
    "domains": "accuracy by domain",
    "ablation": "batch normalisation x rescale_init x rescale_layer",
    "budgets": "budget distributions: clients by budget, accuracy by width",
    "participation": "accuracy against clients per round",
    "tradeoff": "robust against standard accuracy",
    "joint": "the same by width, in situ",
}


def make(kind: str, comparison: Comparison) -> Part:
    """The part of one kind.

    Raises:
        CannotShow: these runs do not have what it needs.
    """
    function: Callable[[Comparison], Part] = import_module(f"splitmix.reporting.kinds.{kind}").make
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
