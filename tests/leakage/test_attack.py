"""Reconstructions: what they minimise falls, the converged one errs as predicted, agreement is counted by level."""

import math

import pytest
import torch
from leakage.test_spectra import batch, model

from splitmix.leakage.attack import Reconstruction, flat, measured, misfit_of, reconstruct
from splitmix.leakage.jacobian import UploadJacobian
from splitmix.leakage.layerwise import gradient_factor
from splitmix.leakage.settings import AuditSettings
from splitmix.leakage.uploads import gradient_upload
from splitmix.leakage.validation import Attacked, Target, agreement, attack_all


def target():
    client, (images, labels) = model(seed=3), batch(1, seed=4)
    upload = gradient_upload(client.loss, client.parameters, labels)
    error = gradient_factor(client, images, labels, 0).spectrum().rmse(1.0)
    return Target("image", upload, images, error)


def test_the_converged_attack_errs_as_predicted():
    one = target()
    settings = AuditSettings(attack="newton", noise_levels=(1e-5, 1e-4))
    attacked = attack_all([one], settings, lambda what: None)
    assert [round(math.log10(a.result.expected)) for a in attacked] == [-5, -4]
    # 16 directions: a standard error of a fifth or so.
    assert all(0.5 < a.result.rmse / a.result.expected < 1.7 for a in attacked)
    # For the noise that was drawn, to first order in the noise.
    assert [a.result.rmse / a.result.predicted for a in attacked] == pytest.approx([1, 1], abs=1e-3)
    assert all(a.result.converged for a in attacked)
    assert attacked[1].result.noise == pytest.approx(10 * attacked[0].result.noise, rel=0.2)


def test_more_draws_come_nearer_to_what_is_expected():
    settings = AuditSettings(attack="newton", noise_levels=(1e-5,), draws=20)
    attacked = attack_all([target()], settings, lambda what: None)
    assert [a.draw for a in attacked] == list(range(20))
    [level] = agreement(attacked)
    assert level["draws"] == 20 and level["images"] == 1 and level["stopped"] == 0
    assert 0.85 < level["expected_ratio"] < 1.15  # 320 directions: a standard error of 0.04 or so


def test_a_reconstruction_that_stops_at_a_jump_says_so():
    def upload(images):  # jumps where the first pixel passes 0.5, half way to where the noise would move it
        jump = (images.flatten()[:1] > 0.5).to(images.dtype)
        return {"pixels": images.flatten() + 10 * jump}

    truth = torch.full((1, 1, 2, 2), 0.4375, dtype=torch.float64)
    noisy = truth.flatten() + torch.tensor([0.125, 0, 0, 0], dtype=torch.float64)
    image, misfit, step = reconstruct("newton", UploadJacobian(upload, truth), noisy, 1, 1, torch.Generator())
    assert image.flatten().tolist() == [0.5, 0.4375, 0.4375, 0.4375]
    assert misfit == pytest.approx(0.0625**2) and step == pytest.approx(0.03125)  # of 4 pixels, one moves by 0.0625
    about = {"sigma": 1.0, "expected": 1.0, "predicted": 0.05, "noise": 1.0}
    assert not measured(image, truth, misfit, step, **about).converged


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["dgl", "gs"])
def test_attacks_from_noise_lower_what_they_minimise(attack):
    one = target()
    clean = flat(one.upload(one.truth)).detach()
    misfit = misfit_of(attack, one.upload, clean)
    assert float(misfit(one.truth)) == pytest.approx(0, abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    before = float(misfit(torch.randn(one.truth.shape, generator=generator, dtype=torch.float64)))
    jacobian = UploadJacobian(one.upload, one.truth)
    image, after, step = reconstruct(attack, jacobian, clean, 2, 30, torch.Generator().manual_seed(0))
    assert step is None and after < before and after == pytest.approx(float(misfit(image)))
    assert attack == "dgl" or (image.min() >= 0 and image.max() <= 1)


def test_measures_of_a_known_error():
    truth = torch.linspace(0.2, 0.8, 64, dtype=torch.float64).view(1, 1, 8, 8)
    about = {"sigma": 0.5, "expected": 0.2, "predicted": 0.2, "noise": 0.1}
    result = measured(truth + 0.1, truth, 0.0, None, **about)
    assert result.converged is None and result.rmse == pytest.approx(0.1) and result.psnr == pytest.approx(20)
    assert 0.5 < result.ssim < measured(truth, truth, 0.0, 0.0, **about).ssim == pytest.approx(1)


def test_agreement_is_counted_within_a_level():
    def one(level, predicted, rmse, draw=0, expected=1.0):
        result = Reconstruction(0.1, expected, predicted, 0.01, rmse, 0, 0, 0, rmse < 6)
        return Attacked("", level, draw, result, torch.zeros(1), torch.zeros(1))

    levels = agreement([one(0, 1, 2), one(0, 2, 4), one(0, 3, 6), one(1, 1, 3), one(1, 2, 2), one(1, 3, 1)])
    assert [(level["median_ratio"], level["spearman"]) for level in levels] == [(2, 1), (1, -1)]
    assert [level["stopped"] for level in levels] == [1, 0]
    assert agreement([one(0, 1, 2)])[0]["spearman"] is None
    # Two draws of two images: root mean squares 5 and sqrt(2), against what is expected of each image.
    drawn = [one(0, 1, 1, 0, 2), one(0, 1, 1, 0, 2), one(0, 1, 7, 1, 2), one(0, 1, 3**0.5, 1, 2)]
    assert agreement(drawn)[0]["expected_ratio"] == pytest.approx((5 + 2**0.5) / 4)
