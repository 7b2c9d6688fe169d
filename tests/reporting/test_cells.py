"""Cells of tables: means and deviations by hand, missing seeds in words, signed differences."""

import math

import pytest

from splitmix.reporting.cells import Cell, collected, missing_seeds, signed


def test_mean_and_sample_deviation_by_hand():
    cell = Cell({1: 0.80, 2: 0.84, 3: 0.88})
    # Deviations -0.04, 0, 0.04; squares sum to 0.0032, over n - 1 = 2: 0.0016.
    assert cell.mean == pytest.approx(0.84) and cell.std == pytest.approx(0.04)
    assert str(cell) == "84.0 ± 4.0" and cell.bar == pytest.approx(4.0)
    assert cell.record() == {"mean": cell.mean, "std": cell.std, "seeds": "1 2 3"}


def test_a_single_seed_has_no_deviation():
    cell = Cell({7: 0.5})
    assert str(cell) == "50.0" and math.isnan(cell.std) and cell.bar == 0


def test_missing_seeds_name_a_method_once_or_its_places():
    both, first = Cell({1: 0.1, 2: 0.2}), Cell({1: 0.1})
    cells = [("a", "×1", both), ("a", "×0.5", first), ("b", "×1", first), ("b", "×0.5", first)]
    assert missing_seeds(cells) == ["no seed 2: a at ×0.5; b"]
    assert missing_seeds(cells[:1]) == []


def test_differences_have_a_sign_unless_they_round_to_nothing():
    assert [signed(number) for number in (1.26, -1234.5, -0.04)] == ["+1.3", "\u22121,234.5", "0.0"]


def test_values_are_collected_by_place_and_seed():
    assert collected([("a", 1, 0.1), ("a", 2, 0.3), ("b", 1, 0.2)])["a"].by_seed == {1: 0.1, 2: 0.3}
