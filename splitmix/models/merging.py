"""Choosing lambda: the ordinary network that one with two-branched norms is at that lambda."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from splitmix.models.dual_norms import TwoBranched
from splitmix.models.network import NetworkSpec, Tensors


def merged_branches(
    spec: NetworkSpec, tensors: Tensors, adv_lambda: float, statistics: bool = True
) -> tuple[NetworkSpec, Tensors]:
    """The lanes customised to `adv_lambda`, in eval mode: exact, since both branches are affine in the same input.

    Args:
        tensors: of lanes of the network `spec`; the entries of norms may have further leading dimensions.
        adv_lambda: weight of the adversarial branch, in [0, 1]; without two branches nothing changes.
        statistics: keep running statistics, where there are some; without, they are the batch's, or are estimated
            afterwards.
    """
    if spec.norm == "plain":
        return spec, tensors
    entries = merged_norms(spec, tensors, adv_lambda, statistics)
    names = tuple(two_branched(spec))
    others = {name: value for name, value in tensors.items() if not name.startswith(names)}
    return replace(spec, norm="plain", bn=spec.bn if statistics else "batch"), {**others, **entries}


def merged_norms(spec: NetworkSpec, tensors: Tensors, adv_lambda: float, statistics: bool = True) -> Tensors:
    """The entries of norms of `merged_branches` alone."""
    merged: Tensors = {}
    for prefix, kind in two_branched(spec).items():
        entries = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for leaf, value in kind.merged(entries, adv_lambda, statistics and spec.tracked).items():
            merged[prefix + leaf] = value
    return merged


@lru_cache(maxsize=256)
def two_branched(spec: NetworkSpec) -> dict[str, type[TwoBranched]]:
    """The kinds of the norms that have two branches, by name, each with a dot behind it."""
    with torch.device("meta"):
        network = spec.build(1)
    return {f"{name}.": type(module) for name, module in network.named_modules() if isinstance(module, TwoBranched)}
