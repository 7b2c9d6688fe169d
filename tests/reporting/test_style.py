"""The style of figures: type that stays readable, looks that stay apart, legends and labels that cover nothing."""

import itertools

import numpy as np
import pytest
from PIL import Image

from splitmix.reporting.labels import Label, label_points, spread_apart
from splitmix.reporting.style import COLOURS, Palette, legend_above, new_figure, save, spaced, styled


def test_looks_differ_in_colour_and_in_black_and_white():
    palette = Palette()
    looks = [palette[str(number)] for number in range(2 * len(COLOURS))]
    assert palette["0"] is looks[0]
    assert len({(look.colour, look.marker, repr(look.line)) for look in looks}) == len(looks)
    assert len({(look.marker, repr(look.line)) for look in looks}) == len(looks)
    for colour in COLOURS:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75


@styled
def lines(labels):
    figure = new_figure(2)
    axes = figure.add_subplot()
    for number, label in enumerate(labels):
        axes.plot([0, 1], [number, 2], label=label)
    legend_above(figure, axes)
    return figure


@pytest.mark.parametrize(
    "labels",
    [
        ["a"],
        ["$x^{$ " * 99, "b\n" * 99],
        [f"method {n}" for n in range(8)],
        ["a very long name of a method, lr=0.1" * 1] * 3,
    ],
)
def test_a_legend_lies_inside_the_figure_and_above_the_axes(labels):
    figure = lines(labels)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1 and legend.y1 <= figure.bbox.y1 + 1
    assert legend.y0 >= figure.axes[0].get_window_extent().y1
    # The axes keep their height, however many lines the legend has.
    assert figure.axes[0].get_window_extent().height / figure.dpi > 1.2


@pytest.mark.slow
def test_a_figure_is_written_as_png_and_pdf_at_column_width(tmp_path):
    for ending in ("png", "pdf"):
        save(lines(["a"]), tmp_path / f"f.{ending}", ending)
    assert Image.open(tmp_path / "f.png").width == 990
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF") and len(list(tmp_path.iterdir())) == 2


def test_labels_cover_neither_points_nor_each_other():
    curves = [[[70, 50], [80, 48], [85, 30], [86, 10]], [[71, 49], [80.5, 46], [85.5, 28], [86.2, 9]]]
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    for curve in curves:
        axes.plot(*zip(*curve, strict=True))
    labels = [Label(x, y, "0.5", "k") for curve in curves for x, y in curve]
    label_points(figure, axes, labels, [np.array(curve) for curve in curves])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 8 and not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))
    points = [axes.transData.transform(point) for curve in curves for point in curve]
    assert not any(box.contains(*point) for box in boxes for point in points)


def test_spaced_keeps_the_ends_and_equal_ratios():
    assert spaced([number / 8 for number in range(1, 9)]) == [0.125, 0.25, 0.5, 1.0]
    assert spaced([1.0, 0.5]) == [0.5, 1.0] and spaced([]) == [] and len(spaced([-1, 0, 1, 2, 3])) == 4


def test_names_move_as_little_as_it_takes_to_lie_apart():
    assert spread_apart([0, 100], 10) == [0, 100] and spread_apart([], 10) == []
    # Two that meet keep their middle, 1; with the third, which they would meet, the middle of all three is 4.
    assert spread_apart([0, 2], 10) == pytest.approx([-4, 6])
    assert spread_apart([0, 2, 10], 10) == pytest.approx([-6, 4, 14])
