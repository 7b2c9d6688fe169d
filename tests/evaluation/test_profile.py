"""Latency: a median with its quartiles; the widths take turns, and a busy machine is told."""

from dataclasses import replace

import pytest
import torch

from splitmix.algorithms.base import Problem
from splitmix.algorithms.splitmix import SplitMix
from splitmix.evaluation import profile as profiling
from splitmix.evaluation.profile import latencies, profile, quartiles, too_busy
from splitmix.models.digit_cnn import DigitCNN


@pytest.fixture
def method():
    return SplitMix().bind(DigitCNN(), Problem((3, 8, 8), 10, (0.25,)))


def test_quartiles():
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_widths_take_turns_so_that_load_slows_all_alike(method, monkeypatch):
    """The machine becomes half as fast in the middle: half of the passes of each width take longer, not one width's."""
    ticks = [0.0]
    calls = []

    def clock():
        ticks[0] += 1.0 if len(calls) < 2 * (2 + 4) else 2.0
        calls.append(None)
        return ticks[0]

    monkeypatch.setattr(profiling, "perf_counter", clock)
    times = latencies(method, method.initial_state(0), (0.125, 0.25), 2, 4)
    assert {width: len(values) for width, values in times.items()} == {0.125: 4, 0.25: 4}
    assert times[0.125] == times[0.25] == [1.0, 1.0, 2.0, 2.0]


def test_the_median_is_told_with_its_quartiles_and_a_wide_spread_is_noticed(method):
    [row] = profile(method, (0.125,), 2, 5)
    assert 0 < row.latency_low_s <= row.latency_s <= row.latency_high_s
    calm = replace(row, latency_low_s=0.95, latency_s=1.0, latency_high_s=1.1)
    busy = replace(row, width=0.5, latency_low_s=0.8, latency_s=1.0, latency_high_s=1.9)
    assert too_busy([calm, busy]) == [0.5]
    assert torch.is_grad_enabled()
