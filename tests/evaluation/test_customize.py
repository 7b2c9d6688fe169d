"""Customised models: mixing, calibration, cost, and evaluation against a plain loop."""

import pytest
import torch

from splitmix.errors import UserError
from splitmix.evaluation.accuracy import mixes
from splitmix.evaluation.cost import cost
from splitmix.evaluation.customize import customize
from splitmix.models.digit_cnn import DigitCNN


def test_a_width_is_the_mean_of_the_first_base_models(federation):
    fed = federation()
    state = fed.initial_state()
    x = torch.rand(6, 3, 8, 8)
    logits = []
    for row in range(3):
        network = fed.method.spec.build(1)
        network.load_lanes(state.tensors, [row])
        logits.append(network.eval()(x)[0])
    torch.testing.assert_close(
        customize(fed.method, state, 0.375)(x), torch.stack(logits).mean(0), rtol=1e-4, atol=1e-5
    )


def test_calibration_makes_a_prediction_independent_of_its_batch(federation):
    fed = federation()
    state = fed.initial_state()
    x = torch.rand(6, 3, 8, 8)
    with pytest.raises(UserError, match="calibration"):
        customize(fed.method, state, 0.5)(x[:1])
    model = customize(fed.method, state, 0.5, calibration=(torch.rand(200, 3, 8, 8) * 255).to(torch.uint8))
    torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_calibrated_model_is_exported_for_any_number_of_images(federation):
    fed = federation()
    model = customize(fed.method, fed.initial_state(), 0.25, calibration=fed.calibration_images(32))
    x = torch.rand(3, 3, 8, 8)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n")},)).module()
    for images in (x[:1], x, torch.cat([x, x])):
        torch.testing.assert_close(exported(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_onnx_computes_the_same_for_any_number_of_images(federation, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    fed = federation()
    model = customize(fed.method, fed.initial_state(), 0.25, calibration=fed.calibration_images(32))
    x = torch.rand(3, 3, 8, 8)
    any_number = ({0: torch.export.Dim("n")},)
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True, dynamic_shapes=any_number)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for images in (x[:1], x, torch.cat([x, x])):
        [logits] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(images), rtol=1e-4, atol=1e-5)


def test_calibrated_statistics_are_those_of_the_calibration_images(federation):
    """One batch of calibration images through the calibrated model is batch normalisation by that batch."""
    fed = federation()
    state = fed.initial_state()
    x = torch.rand(100, 3, 8, 8)
    # The running variance is the unbiased one: 100 / 99 of the batch's in the linear layers.
    torch.testing.assert_close(
        customize(fed.method, state, 0.5, calibration=x)(x), customize(fed.method, state, 0.5)(x), rtol=0.05, atol=0.02
    )


def test_what_the_run_cannot_give_is_refused(federation):
    fed = federation()
    state = fed.initial_state()
    for arguments in ({"width": 0.3}, {"width": 0.5, "adv_lambda": 0.5}, {"width": 0.5, "client": 0}):
        with pytest.raises(UserError):
            customize(fed.method, state, **arguments)
    with pytest.raises(UserError, match="calibration of shape"):
        customize(fed.method, state, 0.5, calibration=torch.rand(4, 3, 9, 9))


def test_accuracy_is_the_mean_over_clients_of_each_clients_own(federation):
    fed = federation()
    state = fed.initial_state()
    accuracy = fed.validate(state, [0.125, 1.0])
    for width, mean in accuracy.mean().items():
        model = customize(fed.method, state, width)
        own = []
        for client in fed.clients:
            right = 0
            for rows in client.val.split(fed.batch_size):
                images = fed.dataset.train.images[rows].float() / 255
                right += int((model(images).argmax(-1) == fed.dataset.train.labels[rows]).sum())
            own.append(right / len(client.val))
        assert mean == pytest.approx(sum(own) / len(own))


@pytest.mark.parametrize("bn", ["batch", pytest.param("tracked", marks=pytest.mark.slow)])
def test_post_statistics_leave_the_state_alone(federation, bn):
    fed = federation(None, DigitCNN(bn=bn))
    state = fed.initial_state()
    before = {name: value.clone() for name, value in state.tensors.items()}
    accuracy = fed.test(state, [0.25], bn="post", max_images=16)
    assert accuracy.n_images == 16
    assert all(torch.equal(before[name], value) for name, value in state.tensors.items())


def test_mixes_are_running_means():
    logits = torch.arange(12.0).view(4, 1, 3)
    torch.testing.assert_close(mixes(logits, [1, 4]), torch.stack([logits[0], logits.mean(0)]))


@pytest.mark.parametrize(
    ("width", "macs", "params"),
    # The paper's Table 1, digit CNN, Split-Mix.
    [(0.125, 1194304, 224194), (0.25, 2388608, 448388), (0.5, 4777216, 896776), (1.0, 9554432, 1793552)],
)
def test_costs_are_the_papers(width, macs, params):
    from splitmix.algorithms.base import Problem
    from splitmix.algorithms.splitmix import SplitMix

    method = SplitMix().bind(DigitCNN(), Problem((3, 28, 28), 10, (1.0,)))
    assert cost(method, method.initial_state(0), width) == (macs, params)
