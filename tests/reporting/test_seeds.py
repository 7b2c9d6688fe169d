"""Numbers over seeds: means and deviations by hand, missing seeds in words, signed differences."""

import math

import pytest

from splitmix.reporting.seeds import missing_seeds, over_seeds, signed


def lines(**by_method):
    """A line for each seed of each method, from {seed: accuracy}."""
    return [
        {"method": method, "width": 1.0, "seed": seed, "sa": sa}
        for method, sas in by_method.items()
        for seed, sa in sas.items()
    ]


def test_mean_and_sample_deviation_by_hand():
    [cell] = over_seeds(lines(a={2: 0.84, 3: 0.88, 1: 0.80}), ["method"]).itertuples()
    # Deviations -0.04, 0, 0.04; squares sum to 0.0032, over n - 1 = 2: 0.0016.
    assert cell.mean == pytest.approx(0.84) and cell.std == pytest.approx(0.04)
    assert (cell.text, cell.percent, cell.seeds) == ("84.0 ± 4.0", "84.0", "1 2 3") and cell.bar == pytest.approx(4)


def test_a_single_seed_shows_its_interval_where_it_is_known():
    known = [{**line, "low": 0.45, "high": 0.561} for line in lines(a={7: 0.5}, b={1: 0.5, 2: 0.6})]
    one, several = over_seeds(known, ["method"]).itertuples()
    assert one.text == "50.0 (45.0 to 56.1)" and (one.low, one.high) == (0.45, 0.561)
    assert several.text == "55.0 ± 7.1" and math.isnan(several.low)


def test_a_single_seed_has_no_deviation():
    [cell] = over_seeds(lines(a={7: 0.5}), ["method"]).itertuples()
    assert cell.text == "50.0" and math.isnan(cell.std) and cell.bar == 0


def test_words_keep_their_order_numbers_ascend_and_the_later_of_one_seed_counts():
    both = [{"method": m, "width": w, "seed": 1, "sa": w / 10} for m in "ba" for w in (1.0, 0.5)]
    cells = over_seeds([*both, {**both[0], "sa": 0.9}], ["method", "width"])
    places = [(cell.method, cell.width, cell.text) for cell in cells.itertuples()]
    assert places == [("b", 0.5, "5.0"), ("b", 1.0, "90.0"), ("a", 0.5, "5.0"), ("a", 1.0, "10.0")]


def test_missing_seeds_name_a_method_once_or_its_places():
    cells = over_seeds(lines(a1={1: 0.1, 2: 0.2}, a2={1: 0.1}, b1={1: 0.1}, b2={1: 0.1}), ["method"])
    places = ["×1", "×0.5", "×1", "×0.5"]
    assert missing_seeds(cells, ["a", "a", "b", "b"], places) == ["no seed 2: a at ×0.5; b"]
    assert missing_seeds(cells[:1], ["a"], ["×1"]) == []


def test_differences_have_a_sign_unless_they_round_to_nothing():
    assert [signed(number) for number in (1.26, -1234.5, -0.04)] == ["+1.3", "\u22121,234.5", "0.0"]
