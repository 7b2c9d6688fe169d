"""Spectra of J J^T: layer by layer, for several base models, by hand."""

import math

import pytest
import torch

from splitmix.leakage.jacobian import UploadJacobian
from splitmix.leakage.layerwise import gradient_factor
from splitmix.leakage.networks import ClientModel
from splitmix.leakage.spectrum import Factor
from splitmix.leakage.uploads import LocalSteps, gradient_upload, local_upload, others_known, uploaded_part
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import NetworkSpec, batch_norm_entries
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT

SIDE = 4


def model(network=DigitCNN, bn="tracked", seed=0, training=False, width=0.125, side=SIDE, **settings):
    spec = NetworkSpec(network(bn), width, (1, side, side), 10, rescale_layer=True, bn=bn)
    tensors = spec.initial_tensors(1, torch.Generator().manual_seed(seed))
    return ClientModel.of(spec, tensors, training=training, **settings)


def batch(count, seed=1, side=SIDE):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, side, side, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 10, (count,), generator=generator)


def generic(client, images, labels, position):
    """J by automatic differentiation of the whole gradient."""
    upload = uploaded_part(gradient_upload(client.loss, client.parameters, labels), client.kept)
    return UploadJacobian(others_known(upload, images, position), images[position : position + 1]).rows()


LOCAL = batch_norm_entries(NetworkSpec(DigitCNN("local"), 0.125, (1, SIDE, SIDE), 10, bn="local"))
CASES = {
    "fixed statistics": {},
    "batch statistics": {"bn": "batch"},
    "in training": {"training": True},
    "masked, with temperature": {"masked": True, "temperature": 0.5},
    "norms that stay": {"bn": "local", "kept": LOCAL},
    "tokens": {"network": lambda bn: ViT(patch=2, blocks=2, head_size=4), "training": True},
    "PreResNet-18": {"network": PreResNet18, "side": 8, "width": 0.02, "bn": "batch"},
}


@pytest.mark.parametrize("name", [*list(CASES)[:-1], pytest.param("PreResNet-18", marks=pytest.mark.slow)])
def test_layer_by_layer_is_the_whole_gradient(name):
    client, (images, labels) = model(**CASES[name]), batch(4, side=CASES[name].get("side", SIDE))
    factor, rows = gradient_factor(client, images, labels, 2), generic(client, images, labels, 2)
    gram = rows @ rows.T
    assert (factor.gram() - gram).abs().max() < 1e-12 * gram.abs().max()
    assert factor.columns == rows.shape[1]
    assert factor.spectrum().rmse(0.1) == pytest.approx(Factor.of(rows).spectrum().rmse(0.1), rel=1e-6)


def test_progress_reaches_the_end():
    shares = []
    gradient_factor(model(), *batch(1), 0, shares.append)
    assert shares[-1] == 1 and shares == sorted(shares)


def test_more_base_models_never_raise_the_error():
    """J J^T grows by a positive semidefinite part with every base model."""
    images, labels = batch(1)
    factors = [gradient_factor(model(seed=seed), images, labels, 0) for seed in range(4)]
    spectra = [Factor.together(factors[: count + 1]).spectrum() for count in range(4)]
    assert all(spectrum.rank == images.numel() for spectrum in spectra)
    errors = [spectrum.rmse(0.01) for spectrum in spectra]
    assert errors == sorted(errors, reverse=True) and errors[3] < 0.8 * errors[0]
    together = Factor.together([Factor(factor.gram(), False, factor.columns) for factor in factors]).spectrum()
    assert together.rmse(0.01) == pytest.approx(errors[3], rel=1e-6)


def test_one_image_of_a_batch_errs_at_most_as_with_all_unknown():
    client, (images, labels) = model(bn="batch"), batch(3)
    upload = gradient_upload(client.loss, client.parameters, labels)
    left, values, _ = torch.linalg.svd(UploadJacobian(upload, images).rows(), full_matrices=False)
    variance = (left / values).square().sum(1).view(3, -1).mean(1)  # of each image's pixels, at sigma 1
    for image in range(3):
        known = gradient_factor(client, images, labels, image).spectrum()
        assert known.rank == images[0].numel()
        assert known.rmse(1.0) <= variance[image].sqrt()


def test_numbers_of_a_known_spectrum():
    rows = torch.diag(torch.tensor([4.0, 2.0, 0.0], dtype=torch.float64))
    for factor in (Factor.of(rows), Factor(rows @ rows.T, False, 3)):
        spectrum = factor.spectrum()
        assert spectrum.rank == 2 and spectrum.pixels == 3
        # tr((J J^T)^+) = 1/16 + 1/4
        assert spectrum.rmse(0.3) == pytest.approx(0.3 * math.sqrt(0.3125 / 3))
        assert spectrum.noise_for(0.1) == pytest.approx(0.1 / math.sqrt(0.3125 / 3))
        assert spectrum.bound(0.3) == pytest.approx(0.3 * math.sqrt(20 / 3) / 16)
        assert factor.scaled(0.5).spectrum().rmse(1.0) == pytest.approx(2 * spectrum.rmse(1.0))


def test_local_steps_are_those_of_pytorch():
    client, (images, labels) = model(training=True), batch(4)
    batches = [(0, 1), (2, 3), (1, 2)]
    upload = local_upload(client.loss, client.parameters, batches, labels, LocalSteps(0.1, 0.9, 5e-4))(images)
    weights = {name: value.clone().requires_grad_() for name, value in client.parameters.items()}
    optimizer = torch.optim.SGD(weights.values(), 0.1, momentum=0.9, weight_decay=5e-4)
    for rows in batches:
        optimizer.zero_grad()
        client.loss(weights, images[list(rows)], labels[list(rows)]).backward()
        optimizer.step()
    for name, value in client.parameters.items():
        torch.testing.assert_close(upload[name], (value - weights[name].detach()) / 0.1, rtol=1e-9, atol=1e-12)


def test_a_clipped_step_is_as_long_as_allowed():
    client, (images, labels) = model(), batch(2)
    upload = local_upload(client.loss, client.parameters, [(0, 1)], labels, LocalSteps(1.0, clip_norm=1e-3))(images)
    assert math.sqrt(sum(float(value.square().sum()) for value in upload.values())) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.slow
def test_lsqr_finds_the_error_of_the_singular_values():
    client, (images, labels) = model(), batch(1)
    jacobian = UploadJacobian(gradient_upload(client.loss, client.parameters, labels), images)
    noise = torch.randn(jacobian.entries, generator=torch.Generator().manual_seed(0)).double().numpy()
    assert jacobian.error(noise, dense=False) == pytest.approx(jacobian.error(noise, dense=True), rel=1e-6)
    assert jacobian.bound(noise) > 0
