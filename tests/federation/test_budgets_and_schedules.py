"""Budgets, schedules and batches against METHOD's formulas."""

import math
from collections import Counter

import pytest
import torch

from splitmix.errors import UserError
from splitmix.federation.budgets import Groups, ascending_budgets
from splitmix.federation.sampling import eval_batches, participants, train_batches
from splitmix.federation.schedules import Cosine, Exponential, MultiStep
from splitmix.randomness import rng


def test_fifty_clients_over_four_widths_are_13_12_13_12():
    counts = Counter(Groups().assign(10, 5, 1))
    assert [counts[w] for w in (0.125, 0.25, 0.5, 1.0)] == [13, 12, 13, 12]


def test_fractions_and_duplicates():
    assert ascending_budgets("8-1-1-1", 4) == [0.125, 1.0, 1.0, 1.0]
    assert ascending_budgets("8-4-8d3-2", 4) == [0.125, 0.25, 0.375, 0.5]


def test_log_normal_budgets_follow_the_distribution():
    budgets = ascending_budgets("ln0.5_0.4", 10000)
    cdf = [0.5 * math.erfc(-math.log(k / 8 / 0.4) / (0.5 * math.sqrt(2))) for k in range(1, 9)]
    # Clients with width w_j: the share F(w_j+1) - F(w_j), truncated below F(w_1); all the rest get width 1.
    assert Counter(budgets)[0.25] == pytest.approx(10000 * (cdf[2] - cdf[1]) / (1 - cdf[0]), abs=1)
    assert budgets == sorted(budgets) and len(budgets) == 10000


def test_spread_puts_every_budget_in_every_domain_and_random_keeps_the_counts():
    spread = Groups(assignment="spread").assign(4, 3, 1)
    assert all(set(spread[4 * d : 4 * d + 4]) == {0.125, 0.25, 0.5, 1.0} for d in range(3))
    assert sorted(Groups(assignment="random").assign(4, 3, 1)) == sorted(spread)


@pytest.mark.parametrize("widths", ["", "0", "8-x", "1d2", "ln_", "8--4"])
def test_strings_that_are_no_budgets_are_refused(widths):
    with pytest.raises(UserError, match=r"budget\.widths"):
        Groups(widths=widths).check()


def test_schedules():
    assert Cosine().factor(10, 20) == pytest.approx(0.5)
    steps = MultiStep(milestones=(2, 4), gamma=0.1)
    assert [steps.factor(t, 6) for t in range(6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    falling = Exponential(decay=0.9)
    assert [falling.factor(t, 6) for t in range(3)] == pytest.approx([1, 0.9, 0.81])
    with pytest.raises(UserError, match=r"schedule\.decay=1\.5"):
        Exponential(decay=1.5).check()
    assert MultiStep(warmup_rounds=4).factor(1, 6) == pytest.approx(0.5)


def test_each_pass_sees_every_image_once_and_a_single_image_is_dropped():
    rows = torch.arange(100, 117)
    batches = train_batches(rows, 8, 2, rng(0, "x"))
    assert [len(batch) for batch in batches] == [8, 8, 8, 8]
    assert len(set(torch.cat(batches[:2]).tolist())) == 16
    whole = train_batches(rows[:12], 8, 1, rng(0, "x"))
    assert sorted(torch.cat(whole).tolist()) == rows[:12].tolist()
    assert [len(batch) for batch in eval_batches(rows, 8)] == [8, 9]


def test_participants_are_distinct_and_change_with_the_round():
    drawn = [participants(1, t, 20, 5) for t in range(20)]
    assert all(len(set(p)) == 5 for p in drawn) and len({tuple(p) for p in drawn}) > 10
    assert participants(1, 0, 4, None) == [0, 1, 2, 3]
