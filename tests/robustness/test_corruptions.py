"""Corruptions: what each does to images, that severities grow, and what records say of them."""

import numpy as np
import pytest
import torch

from splitmix.errors import UserError
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.corruptions import SEVERITIES, STRENGTHS, Corruption, kinds
from splitmix.robustness.draws import Draws
from splitmix.runs.records import records_of
from splitmix.test_settings import TestSettings

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(6, dtype=torch.int64)


def corrupted(kind, severity, images=IMAGES, seed=0):
    draws = Draws([np.random.default_rng([seed, number]) for number in range(2)], [4, len(images) - 4])
    return Corruption(kind, severity).perturb(lambda x: x, images, LABELS[: len(images)], draws)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_severities_grow_and_pixels_stay_in_range(kind):
    # A smooth picture: noise of single pixels hides what blurs.
    wave = (torch.linspace(0, 9, 32).sin() * 0.3 + 0.5).expand(6, 3, 32, 32).clone()
    wave[:, 1] *= 0.8
    wave[:, :, 9:17, 9:17] = 0.1
    changes = []
    for severity in SEVERITIES:
        images = corrupted(kind, severity, wave)
        assert images.shape == wave.shape and images.dtype == wave.dtype
        assert images.min() >= 0 and images.max() <= 1
        changes.append((images - wave).square().mean().item())
    assert 0 < changes[0] < changes[4]


@pytest.mark.parametrize("kind", STRENGTHS)
def test_an_image_is_corrupted_alike_in_any_company_of_other_blocks(kind):
    whole = corrupted(kind, 3)
    draws = Draws([np.random.default_rng([0, 1])], [2])
    alone = Corruption(kind, 3).perturb(lambda x: x, IMAGES[4:], LABELS[4:], draws)
    torch.testing.assert_close(whole[4:], alone, atol=1e-6, rtol=0)


def test_by_hand():
    flat = torch.full((6, 3, 16, 16), 0.5)
    noise = corrupted("gaussian_noise", 5, flat) - 0.5
    assert noise.std().item() == pytest.approx(0.10, rel=0.05) and abs(noise.mean().item()) < 0.01
    shot = corrupted("shot_noise", 5, flat)
    assert shot.std().item() == pytest.approx((0.5 / 50) ** 0.5, rel=0.05)
    impulses = corrupted("impulse_noise", 5, flat)
    assert (impulses != 0.5).float().mean().item() == pytest.approx(0.07, abs=0.015)
    assert set(impulses.unique().tolist()) == {0.0, 0.5, 1.0}
    torch.testing.assert_close(corrupted("brightness", 5, flat), flat + 0.3)
    black = torch.zeros(6, 3, 16, 16)
    torch.testing.assert_close(corrupted("brightness", 5, black), black + 0.3)
    assert torch.equal(corrupted("contrast", 5, flat), flat)
    torch.testing.assert_close(corrupted("gaussian_blur", 5, flat), flat)
    middle = IMAGES.mean((2, 3), keepdim=True)
    torch.testing.assert_close(corrupted("contrast", 5) - middle, 0.15 * (IMAGES - middle))


def test_unknown_kinds_are_refused_with_the_nearest():
    assert kinds(["all"]) == tuple(STRENGTHS) and kinds(["jpeg", "jpeg"]) == ("jpeg",)
    TestSettings(corruptions=("gaussian_blur",)).check()
    with pytest.raises(UserError, match=r"test\.corruptions=gausian_blur: no such corruption.*gaussian_blur"):
        TestSettings(corruptions=("gausian_blur",)).check()


@pytest.mark.slow
@pytest.mark.parametrize("bn", ["batch", "tracked"])
def test_records_of_every_width(federation, bn):
    fed = federation(None, DigitCNN(bn=bn))
    state = fed.fit().state
    settings = TestSettings(corruptions=("contrast", "gaussian_noise"))
    records = records_of(fed, state, settings, [0.125, 0.5], 0.0, "best", "")
    for record in records:
        assert list(record["corruptions"]) == ["contrast", "gaussian_noise"]
        for kind, accuracies in record["corruptions"].items():
            for severity, accuracy in zip(SEVERITIES, accuracies, strict=True):
                attacked = fed.test(state, [record["width"]], attack=Corruption(kind, severity)).mean()
                assert accuracy == pytest.approx(attacked[record["width"]])
    assert "corruptions" not in records_of(fed, state, TestSettings(), [0.5], 0.0, "best", "")[0]
