"""Lane layers against the ordinary PyTorch layers."""

import pytest
import torch
from torch import nn

from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.layers import LaneConv2d, LaneLinear
from splitmix.models.network import NetworkSpec
from splitmix.models.norms import LaneBatchNorm
from splitmix.randomness import torch_rng

LANES = 3


def per_lane(x):
    """[n, lanes * features, ...] to a list of [n, features, ...]."""
    return x.chunk(LANES, dim=1)


@pytest.mark.parametrize("shared", [True, False])
def test_convolution_is_one_convolution_per_lane(shared):
    layer = LaneConv2d(LANES, 4, 6, 3, stride=2, padding=1)
    layer.reset_parameters(torch.Generator().manual_seed(0))
    x = torch.randn(5, 4 if shared else 4 * LANES, 9, 9)
    out = per_lane(layer(x))
    for lane in range(LANES):
        mine = x if shared else per_lane(x)[lane]
        expected = nn.functional.conv2d(mine, layer.weight[lane], layer.bias[lane], stride=2, padding=1)
        torch.testing.assert_close(out[lane], expected)


def test_linear_is_one_linear_per_lane():
    layer = LaneLinear(LANES, 7, 4)
    layer.reset_parameters(torch.Generator().manual_seed(0))
    x = torch.randn(5, 7 * LANES)
    for lane, out in enumerate(per_lane(layer(x))):
        expected = nn.functional.linear(per_lane(x)[lane], layer.weight[lane], layer.bias[lane])
        torch.testing.assert_close(out, expected)


def test_tracked_batch_norm_is_one_batch_norm_per_lane():
    layer = LaneBatchNorm(LANES, 4, tracked=True)
    ordinary = [nn.BatchNorm2d(4) for _ in range(LANES)]
    for _ in range(3):
        x = torch.randn(5, 4 * LANES, 3, 3)
        out = per_lane(layer(x))
        for lane, norm in enumerate(ordinary):
            torch.testing.assert_close(out[lane], norm(per_lane(x)[lane]))
    layer.eval()
    x = torch.randn(5, 4 * LANES, 3, 3)
    for lane, norm in enumerate(ordinary):
        torch.testing.assert_close(layer(x).chunk(LANES, 1)[lane], norm.eval()(per_lane(x)[lane]))
        assert layer.num_batches_tracked[lane] == norm.num_batches_tracked


def test_rescale_divides_the_output_in_training_only():
    layer = LaneConv2d(1, 3, 4, 3, rescale=0.25)
    layer.reset_parameters(torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 6, 6)
    trained = layer(x)
    torch.testing.assert_close(trained, layer.eval()(x) / 0.25)


@pytest.mark.parametrize("rescale_init", [True, False])
def test_initial_bounds_use_the_fan_in_of_the_full_network_if_asked(rescale_init):
    spec = NetworkSpec(DigitCNN(), 0.125, (3, 28, 28), 10, rescale_init=rescale_init)
    tensors = spec.initial_tensors(8, torch.Generator().manual_seed(0))
    full = 0.125 if rescale_init else 1.0
    # Bounds are 1/sqrt(fan-in); uniform draws come within a few percent of them. The input layer never changes.
    for name, fan_in in {"conv1": 75, "conv2": 8 * 25 / full, "fc1": 784 / full, "fc3": 64 / full}.items():
        assert tensors[f"{name}.weight"].abs().max() == pytest.approx(fan_in**-0.5, rel=0.02)
        assert tensors[f"{name}.weight"].abs().max() <= fan_in**-0.5


def test_batch_norm_without_statistics_depends_on_the_batch_in_eval_mode():
    layer = LaneBatchNorm(1, 4).eval()
    x = torch.randn(6, 4)
    assert not torch.allclose(layer(x)[:3], layer(x[:3]))


@pytest.mark.parametrize(
    ("channels", "outputs", "stride", "shared", "kernel", "padding"),
    [
        (3, 5, 1, False, 3, 1),
        (3, 5, 2, True, 3, 1),
        (8, 5, 1, False, 3, 1),
        (1, 5, 1, True, 3, 1),
        # Many outputs go by the kernel's columns, unless the padding exceeds the kernel.
        (3, 20, 1, True, 5, 2),
        (3, 40, 1, False, (3, 4), (0, 1)),
        (1, 40, 1, True, (1, 5), (0, 4)),
        (3, 40, 1, True, 1, 1),
        (3, 40, 2, True, 5, 2),
    ],
)
def test_the_gradient_by_the_input_alone_is_the_same(channels, outputs, stride, shared, kernel, padding):
    """What an attack differentiates: the parameters' gradients off or on, the input's gradient is one."""
    layer = LaneConv2d(2, channels, outputs, kernel, stride, padding).double()
    layer.reset_parameters(torch_rng(0, "test"))
    x = torch.rand(3, channels if shared else 2 * channels, 7, 6, dtype=torch.float64)
    gradients = []
    for wanted in (True, False):
        layer.requires_grad_(wanted)
        images = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        layer(images).square().sum().backward()
        gradients.append(images.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("processor", ["AVX2", "AVX512"])
@pytest.mark.parametrize(("outputs", "stride", "bias"), [(5, 1, True), (5, 2, False), (40, 1, True)])
def test_the_gradient_by_the_weights_alone_is_the_same(processor, outputs, stride, bias, monkeypatch):
    """Training on images: the images' gradient on or off, the parameters' gradients are the same."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    layer = LaneConv2d(2, 3, outputs, 5, stride, padding=2, bias=bias)
    layer.reset_parameters(torch_rng(0, "test"))
    x = torch.rand(3, 6, 7, 6).contiguous(memory_format=torch.channels_last)
    gradients = []
    for attacked in (True, False):
        out = layer(x.clone().requires_grad_(attacked))
        gradients.append(torch.autograd.grad(out.square().sum(), list(layer.parameters())))
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("attacked", [True, False])
@pytest.mark.parametrize("outputs", [5, 40])
def test_mixed_precision_has_gradients_too(outputs, attacked, monkeypatch):
    """bfloat16 products of images with three channels, as far as this processor has them."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer = LaneConv2d(2, 3, outputs, 5, padding=2).requires_grad_(not attacked)
    layer.reset_parameters(torch_rng(0, "test"))
    x = torch.rand(3, 6, 7, 6).contiguous(memory_format=torch.channels_last).requires_grad_(attacked)
    with torch.autocast("cpu", torch.bfloat16), torch.backends.mkldnn.flags(enabled=False):
        out = layer(x)
    out.float().square().sum().backward()
    assert (x if attacked else layer.weight).grad.abs().max() > 0
