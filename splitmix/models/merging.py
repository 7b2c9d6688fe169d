"""Choosing lambda: the ordinary network that one with two-branched batch normalisation is at that lambda."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from splitmix.models.dual_norms import MERGES, NORMS
from splitmix.models.network import NetworkSpec, Tensors


def merged_branches(
    spec: NetworkSpec, tensors: Tensors, adv_lambda: float, statistics: bool = True
) -> tuple[NetworkSpec, Tensors]:
    """The lanes customised to `adv_lambda`, in eval mode: exact, since both branches are affine in the same input.

    Args:
        tensors: of lanes of the network `spec`; batch-normalisation entries may have further leading dimensions.
        adv_lambda: weight of the adversarial branch, in [0, 1]; without two branches nothing changes.
        statistics: keep running statistics, where there are some; without, they are the batch's, or are estimated
            afterwards.
    """
    if spec.norm not in MERGES:
        return spec, tensors
    entries = merged_norms(spec, tensors, adv_lambda, statistics)
    names = two_branched(spec)
    others = {name: value for name, value in tensors.items() if not name.startswith(names)}
    return replace(spec, norm="plain", bn=spec.bn if statistics else "batch"), {**others, **entries}


def merged_norms(spec: NetworkSpec, tensors: Tensors, adv_lambda: float, statistics: bool = True) -> Tensors:
    """The batch-normalisation entries of `merged_branches` alone."""
    merged: Tensors = {}
    for prefix in two_branched(spec):
        entries = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for leaf, value in MERGES[spec.norm](entries, adv_lambda, statistics and spec.tracked).items():
            merged[prefix + leaf] = value
    return merged


@lru_cache(maxsize=256)
def two_branched(spec: NetworkSpec) -> tuple[str, ...]:
    """The names of the norms that have two branches, each with a dot behind it."""
    with torch.device("meta"):
        network = spec.build(1)
    return tuple(
        f"{name}."
        for name, module in network.named_modules()
        if spec.norm in MERGES and isinstance(module, NORMS[spec.norm])
    )
