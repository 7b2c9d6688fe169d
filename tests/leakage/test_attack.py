"""Reconstructions: what they minimise falls, the converged one errs as predicted, agreement is counted by level."""

import math

import pytest
import torch
from leakage.test_spectra import batch, model

from splitmix.leakage.attack import Reconstruction, flat, measured, misfit_of, reconstruct
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
    assert [round(math.log10(a.result.predicted)) for a in attacked] == [-5, -4]
    # 16 directions: a standard error of a fifth or so.
    assert all(0.5 < a.result.rmse / a.result.predicted < 1.7 for a in attacked)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["dgl", "gs"])
def test_attacks_from_noise_lower_what_they_minimise(attack):
    one = target()
    clean = flat(one.upload(one.truth)).detach()
    misfit = misfit_of(attack, one.upload, clean)
    assert float(misfit(one.truth)) == pytest.approx(0, abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    before = float(misfit(torch.randn(one.truth.shape, generator=generator, dtype=torch.float64)))
    image, after = reconstruct(attack, one.upload, clean, one.truth, 2, 30, torch.Generator().manual_seed(0))
    assert after < before and after == pytest.approx(float(misfit(image)))
    assert attack == "dgl" or (image.min() >= 0 and image.max() <= 1)


def test_measures_of_a_known_error():
    truth = torch.linspace(0.2, 0.8, 64, dtype=torch.float64).view(1, 1, 8, 8)
    result = measured(truth + 0.1, truth, 0.5, 0.2, 0.0)
    assert result.rmse == pytest.approx(0.1) and result.psnr == pytest.approx(20)
    assert 0.5 < result.ssim < measured(truth, truth, 0.5, 0.2, 0.0).ssim == pytest.approx(1)


def test_agreement_is_counted_within_a_level():
    def one(level, predicted, rmse):
        return Attacked("", level, Reconstruction(0.1, predicted, rmse, 0, 0, 0), torch.zeros(1), torch.zeros(1))

    levels = agreement([one(0, 1, 2), one(0, 2, 4), one(0, 3, 6), one(1, 1, 3), one(1, 2, 2), one(1, 3, 1)])
    assert [(level["median_ratio"], level["spearman"]) for level in levels] == [(2, 1), (1, -1)]
    assert agreement([one(0, 1, 2)])[0]["spearman"] is None
