"""What training and testing end with, one row for each model: accuracies and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class WidthRow:
    """One width after training: accuracies in [0, 1], MACs per image, bytes per client and round each way.

    `fixed_sa` is the test SA with fixed batch-normalisation statistics. None is an unknown value.
    """

    width: float
    val_sa: float | None
    val_ra: float | None
    test_sa: float | None
    macs: float | None
    params: int | None
    bytes_per_round: int | None
    fixed_sa: float | None = None


@dataclass(frozen=True)
class TestRow:
    """One tested width and level of robustness under one attack: accuracy over clients, in [0, 1].

    `images` is the least number of images that a client was tested on; `fixed` is the mean with fixed
    batch-normalisation statistics, None where it was not measured. `interval` is that of the mean. `metrics` are those
    of `test.metrics`, of all images together. `backdoor` is the share of patched images of other classes that are taken
    for the target, None without.
    """

    __test__ = False

    width: float
    adv_lambda: float
    attack: str
    mean: float
    worst: float
    best: float
    images: int
    macs: float
    params: int
    fixed: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    backdoor: float | None = None
    interval: tuple[float, float] | None = None


def fewest_images(record: Mapping[str, Any], clients: Sequence[Mapping[str, Any]], images: str = "test") -> int:
    """The least number of images that a client of a test record was tested on (`test.max_images` gives all as many).

    Args:
        record, clients: of results.json.
        images: `test` or `validation`.
    """
    share: int = record["n_images"] // max(1, len(clients))
    return min([share, *(client["n_val" if images == "validation" else "n_test"] for client in clients)])
