"""Intervals of a mean over clients."""

import numpy as np
import pytest

from splitmix.evaluation.intervals import bootstrap_interval


def test_it_is_the_normal_interval_of_many_clients():
    values = np.random.default_rng(0).uniform(0.2, 0.8, 200)
    low, high = bootstrap_interval(values, 1)
    half = 1.96 * values.std() / 200**0.5
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.003),
        pytest.approx(values.mean() + half, abs=0.003),
    )
    assert bootstrap_interval(values, 1) == (low, high) != bootstrap_interval(values, 2)


def test_equal_clients_leave_no_doubt_and_two_leave_every():
    assert bootstrap_interval(np.full(7, 0.3), 0) == (pytest.approx(0.3), pytest.approx(0.3))
    assert bootstrap_interval(np.array([0.0, 1.0]), 0) == (0.0, 1.0)
