"""One width, one number: whatever arithmetic or typing does to its last digits."""

import pytest

from splitmix.widths import distinct, normalized, whole_parts

THIRD = 1 / 3


@pytest.mark.parametrize("count", range(1, 9))
def test_eighths_stay_as_they_are(count):
    assert normalized(0.125 * count) == count / 8


@pytest.mark.parametrize(
    ("width", "known", "expected"),
    [
        (3 * 0.1, (), 0.3),
        (0.1 + 0.2, (0.1, 0.2, 0.3), 0.3),
        (0.333333, (THIRD, 1.0), THIRD),
        (THIRD, (), THIRD),
        (5 * (1 / 6), (5 / 6,), 5 / 6),
        (0.26, (0.25,), 0.26),
    ],
)
def test_a_width_loses_rounding_errors_and_nothing_else(width, known, expected):
    assert normalized(width, known) == expected


def test_each_width_counts_once_in_order():
    assert distinct([0.3, 0.25, 3 * 0.1, 0.25], [0.1, 0.3]) == (0.3, 0.25)


@pytest.mark.parametrize("parts", range(1, 11))
@pytest.mark.parametrize("part", [0.1, 0.05, 0.125, THIRD, 1 / 7])
def test_no_part_is_lost_to_rounding(part, parts):
    """int(0.3 / 0.1) is 2."""
    assert whole_parts(part * parts, part) == parts == whole_parts(round(part * parts, 15), part)
    assert whole_parts(part * (parts - 0.01), part) == parts - 1
