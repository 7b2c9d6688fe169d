"""How sure a mean over clients is: intervals by the bootstrap."""

from __future__ import annotations

import numpy as np

from splitmix.randomness import rng

COVERAGE = 0.95
RESAMPLES = 10_000


def bootstrap_interval(per_client: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of the mean over clients: percentile bootstrap (Efron, "Bootstrap Methods", 1979), 95 %.

    Clients are drawn with replacement, as many as there are, 10,000 times. So it says how the mean would differ with
    other clients of this kind, not with another training.

    Args:
        per_client: values in [0, 1], `[clients]`.
        seed: of the draws, equal ones for every model.
    """
    drawn = rng(seed, "bootstrap").integers(len(per_client), size=(RESAMPLES, len(per_client)))
    means = per_client[drawn].mean(1)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
