"""The convergence figure: what is drawn, and that it replaces the file whole."""

import itertools

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from splitmix.errors import UserError
from splitmix.reporting.figures import convergence_figure


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are saved."""
    axes = []
    save = Figure.savefig

    def spy(figure, *args, **kwargs):
        axes.append(figure.axes[0])
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return axes


def test_one_line_per_width_in_percent_with_its_name_at_its_end(tmp_path, drawn):
    convergence_figure(tmp_path / "c.png", [0, 1, 2], {1.0: [0.2, 0.3, 0.4], 0.125: [0.1, 0.2, 0.3]})
    [axes] = drawn
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["×0.125"].get_xdata()) == [1, 2, 3]
    assert list(lines["×1"].get_ydata()) == pytest.approx([20, 30, 40])
    assert [text.get_text() for text in axes.texts] == ["×0.125", "×1"] and not axes.figure.legends
    # A column of a paper, 3.3 inches at 300 dots per inch.
    assert Image.open(tmp_path / "c.png").size[0] == 990
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.parametrize("rounds", [1, 2, 4, 30])
def test_rounds_are_whole_numbers(tmp_path, drawn, rounds):
    convergence_figure(tmp_path / "c.png", range(rounds), {1.0: [0.5] * rounds})
    assert all(tick == int(tick) for tick in drawn[0].get_xticks())


@pytest.mark.slow
def test_of_eight_widths_four_are_drawn_and_their_names_stay_apart(tmp_path, drawn):
    convergence_figure(tmp_path / "c.png", [0, 1], {(i + 1) / 8: [0.1, 0.5 + i / 1e4] for i in range(8)})
    [axes] = drawn
    assert [text.get_text() for text in axes.texts] == ["×0.125", "×0.25", "×0.5", "×1"]
    axes.figure.draw_without_rendering()
    # As wide as the letters alone: an annotation's extent includes its line.
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.x1 <= axes.figure.bbox.x1 + 2 for box in boxes)


@pytest.mark.parametrize("widths", [1, 2, 4])
def test_every_colour_is_distinct_and_visible_on_white(tmp_path, drawn, widths):
    convergence_figure(tmp_path / "c.png", [0], {(i + 1) / 8: [0.5] for i in range(widths)})
    colours = [line.get_color()[:3] for line in drawn[0].lines]
    assert len(set(colours)) == widths
    assert all(0.2126 * r + 0.7152 * g + 0.0722 * b < 0.75 for r, g, b in colours)
    # For print in black and white: neighbours differ in marker and line.
    looks = [(line.get_marker(), line.get_linestyle()) for line in drawn[0].lines]
    assert all(line.get_marker() != "None" for line in drawn[0].lines)
    assert all(one[0] != two[0] and one != two for one, two in itertools.pairwise(looks))


def test_a_failed_save_keeps_the_old_figure_and_leaves_nothing_beside(tmp_path, monkeypatch):
    (tmp_path / "c.png").write_bytes(b"old")

    def full(figure, file, **kwargs):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(UserError, match="No space left"):
        convergence_figure(tmp_path / "c.png", [0], {1.0: [0.5]})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("c.png", b"old")]
