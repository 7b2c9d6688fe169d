"""How the method authors' reference implementation names the entries of a model's state dict."""

from __future__ import annotations

import re

from splitmix.algorithms.method import Method
from splitmix.models.network import NetworkSpec

RENAMED_NORM = re.compile(r"(^|\.)n(\d\.)")
BRANCHES = {"clean": "clean_bn", "adv": "noise_bn"}
BRANCH = re.compile(rf"(\.)({'|'.join(BRANCHES)})(\.)")


def reference_name(method: Method, spec: NetworkSpec, row: int, name: str) -> str:
    """The reference's name of entry `name` of base model `row`.

    Base models are prefixed with their number; networks of other methods have no prefix. Where base models have running
    statistics, PreResNet-18's norms are called bn instead of n. The branches of dual BN are clean_bn and noise_bn.
    """
    if method.base_models == 1 and not method.mixes:
        return name
    if spec.tracked:
        name = RENAMED_NORM.sub(r"\1bn\2", name)
    if spec.norm == "dual":
        name = BRANCH.sub(lambda match: f"{match[1]}{BRANCHES[match[2]]}{match[3]}", name)
    return f"{row}.{name}"
