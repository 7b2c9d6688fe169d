"""Tables: units, unknown values, one line per width in a log of 100 columns."""

import io

import pytest

from splitmix.reporting.tables import (
    accuracy_table,
    print_table,
    quantity,
    width_table,
)
from splitmix.runs.rows import TestRow, WidthRow, fewest_images


def printed(table):
    stream = io.StringIO()
    print_table(table, stream)
    return stream.getvalue()


def test_a_reader_that_has_had_enough_is_told_as_print_tells_it():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        print_table(width_table([WidthRow(1, 1, None, 1, 9, 9, 9)]), Gone())


def test_one_plain_line_per_width_with_units():
    text = printed(
        width_table(
            [WidthRow(0.125, 0.5, None, 0.456, 1194304, 224194, 896776, 0.44), WidthRow(1, 1, None, 1, 9, 9, 9)]
        )
    )
    [narrow] = [line.split() for line in text.splitlines() if "×0.125" in line]
    assert narrow == ["×0.125", "50.0", "%", "45.6", "%", "44.0", "%", "1.19", "M", "224", "k", "897", "kB"]
    assert "mean over clients" in text and "\x1b" not in text and "RA" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_widest_row_after_training_fits_in_80_columns():
    text = printed(width_table([WidthRow(0.125, 1.0, 1.0, 1.0, 119e6, 224e6, 897_000_000, 1.0)]))
    header = next(line for line in text.splitlines() if "width" in line)
    assert "val RA" in header and "bytes/round" in header and len(header.rstrip()) <= 80


def test_unknown_values_are_dashes():
    text = printed(width_table([WidthRow(0.5, None, None, None, None, None, None)]))
    [line] = [line.split() for line in text.splitlines() if "×0.5" in line]
    assert line == ["×0.5", *["\u2013"] * 6]


def test_accuracies_of_tested_widths_keep_their_columns():
    text = printed(accuracy_table([TestRow(0.25, 0.5, "fgsm", 0.5, 0.25, 0.75, 20, 1e6, 1000)]))
    [header] = [line for line in text.splitlines() if "width" in line]
    assert header.index("mean") < header.index("worst") < header.index("best")
    [line] = [line.split() for line in text.splitlines() if "×0.25" in line]
    assert line == ["×0.25", "0.5", "fgsm", "50.0", "%", "25.0", "%", "75.0", "%", "1", "M", "1", "k"]
    assert "fixed" not in text.lower()


def test_accuracy_with_fixed_statistics_has_a_column_where_it_was_measured():
    rows = [
        TestRow(1, 0, "none", 0.5, 0.2, 0.7, 20, 1e6, 1000, 0.45),
        TestRow(1, 0, "fgsm", 0.3, 0.1, 0.4, 20, 1e6, 1000),
    ]
    lines = [line.split() for line in printed(accuracy_table(rows)).splitlines() if "×1" in line]
    assert [line[3:7] for line in lines] == [["50.0", "%", "45.0", "%"], ["30.0", "%", "\u2013", "10.0"]]


def test_metrics_have_columns_where_they_were_asked_for_and_all_fit_on_100_columns():
    metrics = {"accuracy": 0.9, "balanced_accuracy": 0.5, "f1": 0.25, "calibration_error": 0.125, "nll": 1.5}
    rows = [
        TestRow(0.125, 0.5, "autoattack", 1.0, 1.0, 1.0, 20, 119e6, 224e6, 1.0, metrics),
        TestRow(1, 0, "none", 0.5, 0.2, 0.7, 20, 1e6, 1000, 0.45, {"nll": None}),
    ]
    text = printed(accuracy_table(rows))
    lines = [line.split() for line in text.splitlines()]
    full = ["×0.125", "0.5", "autoattack", *["100.0", "%"] * 4, "50.0", "25.0", "12.5", "1.500", "119", "M", "224", "M"]
    assert full in lines and ["\u2013"] * 4 in [line[11:15] for line in lines] and "NLL (in nats)" in text
    assert "NLL" not in printed(accuracy_table([TestRow(1, 0, "none", 0.5, 0.2, 0.7, 20, 1e6, 1000)]))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (999_499, "999 kB"), (999_600, "1 MB"), (2.5e12, "2.5 TB")]
)
def test_quantities_have_three_digits_and_no_exponent(number, text):
    assert quantity(number, "B") == text


def test_worst_and_best_client_are_not_shown_when_they_rest_on_few_images():
    row = TestRow(0.25, 0.5, "fgsm", 0.5, 0.0, 1.0, 2, 1e6, 1000)
    text = " ".join(printed(accuracy_table([row])).split())
    assert "attack mean" in text and "worst client" not in text and "fgsm 50.0 % 1 M 1 k" in text
    assert "The worst and best client are left out: they would rest on 2 images each, less than 20" in text


@pytest.mark.parametrize(
    ("n_images", "tests", "fewest"), [(100, (10, 10), 10), (8, (10, 4), 4), (14, (10, 4), 4), (4, (10, 4), 2)]
)
def test_the_fewest_images_of_a_client(n_images, tests, fewest):
    assert fewest_images({"n_images": n_images}, [{"n_test": n} for n in tests]) == fewest
