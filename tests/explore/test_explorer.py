"""What the page shows of a run, without a page: equal to what the library computes."""

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from explorers import explorer_of
from PIL import Image, ImageDraw
from run_folders import attacked, record

from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import to_float
from splitmix.evaluation.cost import cost
from splitmix.evaluation.customize import customize
from splitmix.explore import html
from splitmix.explore.drawing import as_image
from splitmix.explore.explorer import IMAGES_PER_PAGE, change_of
from splitmix.explore.looks import domain_rows

GRID = {(0.5, 0.0): (0.7, 0.3), (0.5, 1.0): (0.6, 0.4), (1.0, 0.0): (0.8125, 0.35), (1.0, 1.0): (0.75, 0.45)}
LABEL = "linf_pgd, ε 8/255, 7 steps"


@pytest.fixture
def dual(federation, tmp_path):
    """An explorer of Split-Mix+DAT in BN mode `batch`, tested at two widths and levels."""
    return explorer_of(federation(SplitMix(adv_lambda=0.5)), tmp_path / "run", *attacked(GRID))


def test_models_are_the_customised_ones(dual):
    run, images = dual.run, torch.rand(3, 3, 8, 8)
    for width, level in ((0.25, 0.0), (1.0, 0.35)):
        expected = customize(run.method, run.state, width, level, calibration=run.federation.calibration_images())
        torch.testing.assert_close(dual.models.model(width, level)(images), expected(images), rtol=1e-4, atol=1e-5)
    for level in (0.1, 0.2, 0.3, 0.4):
        dual.models.lanes(level)
    assert list(dual.models.kept) == [0.1, 0.2, 0.3, 0.4]  # memory has an end


def test_there_is_an_answer_after_every_base_model(dual):
    images = torch.rand(2, 3, 8, 8)
    answers = dual.models.answers(images, 0.5, 0.0)
    assert answers.shape == (4, 2, 10)
    for count, width in enumerate((0.125, 0.25, 0.375, 0.5)):
        expected = dual.models.model(width, 0.0)(images).softmax(-1)
        torch.testing.assert_close(answers[count], expected, rtol=1e-4, atol=1e-5)


def test_a_sliced_network_answers_once(federation, tmp_path):
    sliced = explorer_of(federation(HeteroFL()), tmp_path / "run")
    assert sliced.models.answers(torch.rand(2, 3, 8, 8), 0.5, 0.0).shape == (1, 2, 10)
    assert not sliced.dual and sliced.width_at(0.4) == 0.5


def test_unequal_base_models_answer_once_at_every_level(federation, tmp_path):
    unequal = explorer_of(federation(SplitMix(base_widths=(0.125, 0.375, 0.5), adv_lambda=0.5)), tmp_path / "run")
    images, run = torch.rand(2, 3, 8, 8), unequal.run
    assert run.widths == (0.125, 0.5, 1.0) and unequal.dual and unequal.width_at(0.3) == 0.125
    assert unequal.models.answers(images, 0.5, 0.2).shape == (1, 2, 10)
    expected = customize(run.method, run.state, 0.5, 0.2, calibration=run.federation.calibration_images())
    torch.testing.assert_close(unequal.models.model(0.5, 0.2)(images), expected(images), rtol=1e-4, atol=1e-5)


def test_numbers_are_those_of_the_records(dual):
    macs, params = cost(dual.run.method, dual.run.state, 1.0)
    shown = dual.numbers(1.0, 0.0, LABEL)
    assert (shown.sa["accuracy"], shown.ra["accuracy"]) == (0.8125, 0.35)
    assert (shown.macs, shown.params, shown.bytes) == (macs, params, 4 * params)
    assert shown.latency_ms == dual.latencies_ms[1.0] > 0
    text = html.numbers(dual, shown, LABEL)
    values = dict(re.findall(r'id="sm-(\w+)" data-value="([^"]*)"', text))
    assert (float(values["sa"]), float(values["ra"]), float(values["macs"])) == (0.8125, 0.35, macs)
    assert "81.2 %" in text and "35.0 %" in text and "nearest" not in text
    between = dual.numbers(1.0, 0.9, LABEL)
    assert between.ra["accuracy"] == 0.45 and "measured at λ = 1, the tested level nearest to 0.9" in html.numbers(
        dual, between, LABEL
    )
    untested = html.numbers(dual, dual.numbers(0.25, 0.0, LABEL), LABEL)
    assert untested.count("not tested") == 2 and "splitmix test run=" in untested


@pytest.mark.slow
def test_fixed_statistics_are_named_where_they_matter(federation, tmp_path):
    explorer = explorer_of(federation(), tmp_path / "run", record(1.0, 0.8, accuracy_fixed=0.75))
    [attack] = explorer.attacks
    text = html.numbers(explorer, explorer.numbers(1.0, 0.0, attack), attack)
    assert "With fixed statistics, as the images below are seen, SA is 75.0 %" in text


@pytest.mark.slow
def test_the_ring_marks_the_chosen_point(dual):
    x, y = dual.picture(LABEL).places[0.5, 1.0]
    text = html.picture(dual, dual.numbers(0.5, 1.0, LABEL), LABEL)
    assert f"left:{100 * x:.3f}%;top:{100 * y:.3f}%" in text and "sm-ring" in text
    assert "sm-ring" not in html.picture(dual, dual.numbers(0.25, 0.0, LABEL), LABEL)


def test_test_images_are_attacked_against_the_model_of_the_position(dual):
    looks = dual.test_images("b", 1, 0.5, 1.0, LABEL)
    test = dual.run.dataset.test
    rows = domain_rows(test.counts, 1, 1, IMAGES_PER_PAGE, 0)
    assert len(looks) == IMAGES_PER_PAGE and rows.min() >= test.counts[0]
    model = dual.models.model(0.5, 1.0)
    for look, row in zip(looks, rows.tolist(), strict=True):
        torch.testing.assert_close(look.image, to_float(test.images[row : row + 1])[0])
        assert look.label == int(test.labels[row])
        change = (look.attacked - look.image).abs().max()
        assert 0 < change <= 8 / 255 + 1e-6
        assert look.predicted == int(model(look.image[None]).argmax())
        assert look.attacked_predicted == int(model(look.attacked[None]).argmax())
    losses = [
        torch.nn.functional.cross_entropy(model(torch.stack(images)), test.labels[rows])
        for images in ([look.image for look in looks], [look.attacked for look in looks])
    ]
    assert losses[1] > losses[0]
    again = dual.test_images("b", 1, 0.5, 1.0, LABEL)
    assert all(torch.equal(one.attacked, other.attacked) for one, other in zip(looks, again, strict=True))


def test_pages_go_through_all_images_of_a_domain():
    counts = (20, 24)
    pages = [domain_rows(counts, 1, page, 8, 0) for page in range(3)]
    assert sorted(torch.cat(pages).tolist()) == list(range(20, 44))
    assert torch.equal(domain_rows(counts, 1, 3, 8, 0), pages[0])
    assert len(domain_rows((3,), 0, 5, 8, 0)) == 3  # fewer images than a page holds


def test_tiles_count_what_is_right_and_escape_names(dual):
    looks = dual.test_images("a", 0, 1.0, 0.0, LABEL)
    text = html.tiles(dual, looks, LABEL)
    right = sum(look.predicted == look.label for look in looks)
    assert f'data-right="{right}"' in text and text.count('class="sm-tile"') == len(looks)
    assert text.count("sm-bar") == 2 * 8 * len(looks)
    own = html.own(dual, dual.own_image(torch.zeros(3, 8, 8, dtype=torch.uint8), 0.5, 0.0, LABEL), 0.5, LABEL)
    assert own.count('class="sm-row"') == 2 * 4
    for part in (text, own):
        assert "<zero>" not in part and "http" not in part
    assert "&lt;zero&gt;" in text + own


def test_an_own_image_is_attacked_away_from_the_answer(dual):
    image = dual.run.dataset.test.images[0]
    look = dual.own_image(image, 0.5, 0.0, LABEL)
    assert look.label is None
    before, after = (answers[-1][look.predicted] for answers in (look.answers, look.attacked_answers))
    assert after < before


def test_images_are_shown_pixel_by_pixel(dual):
    look = dual.own_image(dual.run.dataset.test.images[0], 0.5, 0.0, LABEL)
    shown = html.address(html.png_of(look.image))
    pixels = np.asarray(Image.open(BytesIO(b64decode(shown.partition(",")[2]))))
    assert np.array_equal(pixels, dual.run.dataset.test.images[0].permute(1, 2, 0).numpy())
    change = change_of(look)
    assert change.min() >= 0 and change.max() <= 1 and max(1 - change.min(), change.max()) == pytest.approx(1.0)
    assert html.png_of(torch.rand(1, 4, 4)).startswith(b"\x89PNG")


def test_drawings_become_images_of_the_run():
    canvas = Image.new("RGBA", (280, 200), (0, 0, 0, 0))
    assert as_image(canvas, (3, 28, 28)) is None  # nothing was drawn
    ImageDraw.Draw(canvas).rectangle((90, 50, 190, 150), fill=(0, 0, 0, 255))
    image = as_image(canvas, (3, 28, 28))
    assert image.shape == (3, 28, 28) and image.dtype == torch.uint8
    assert image[:, 14, 14].max() == 0 and image[:, 0, 0].min() == 255  # black ink on white paper
    inverted = as_image(canvas, (1, 28, 28), inverted=True)
    assert inverted.shape == (1, 28, 28) and inverted[0, 14, 14] == 255 and inverted[0, 0, 0] == 0
