"""A convolution and the norm behind it, together and apart."""

import pytest
import torch

from splitmix.models.dual_norms import DualBatchNorm
from splitmix.models.layers import LaneConv2d
from splitmix.models.normalised import normalised
from splitmix.models.norms import LaneBatchNorm
from splitmix.randomness import torch_rng


def layers(norm: torch.nn.Module, bias: bool = True) -> tuple[LaneConv2d, torch.nn.Module, torch.Tensor]:
    """A convolution, the norm with statistics unlike those of the images, and images of two lanes."""
    generator = torch_rng(0, "test")
    conv = LaneConv2d(2, 3, 4, 3, bias=bias).double()
    conv.reset_parameters(generator)
    for value in [*norm.double().parameters(), *norm.buffers()]:
        if value.is_floating_point():
            value.data.uniform_(0.5, 2, generator=generator)
    return conv, norm, torch.rand(5, 6, 6, 6, dtype=torch.float64, generator=generator)


def at_level(level: float | torch.Tensor) -> DualBatchNorm:
    norm = DualBatchNorm(2, 4, True)
    norm.set_adv_lambda(level)
    return norm


NORMS = {
    "tracked": lambda: LaneBatchNorm(2, 4, True),
    "batch": lambda: LaneBatchNorm(2, 4, False),
    "dual, clean": lambda: at_level(0),
    "dual, adversarial": lambda: at_level(1),
    "dual, between": lambda: at_level(0.3),
    "dual, by image": lambda: at_level(torch.full((5, 2), 0.3, dtype=torch.float64)),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", NORMS)
def test_together_they_compute_what_they_compute_apart(name, trained):
    conv, norm, images = layers(NORMS[name](), bias=name != "batch")
    for part in (conv, norm):
        part.eval().requires_grad_(trained)
    apart, together = images.clone().requires_grad_(), images.clone().requires_grad_()
    expected, out = norm(conv(apart)), normalised(conv, norm, together)
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(together.grad, apart.grad)


@pytest.mark.parametrize("name", ["tracked", "dual, clean"])
def test_in_training_the_norm_follows_the_batch(name):
    conv, norm, images = layers(NORMS[name]())
    one = norm if name == "tracked" else norm.clean
    before = one.running_mean.clone()
    normalised(conv, norm, images)
    assert not torch.equal(one.running_mean, before)


@pytest.mark.parametrize("name", ["tracked", "dual, adversarial"])
def test_hooks_see_a_norm_with_given_statistics(name):
    conv, norm, images = layers(NORMS[name]())
    seen = []
    norm.eval().requires_grad_(False)
    (norm if name == "tracked" else norm.adv).register_forward_hook(lambda *_: seen.append(1))
    normalised(conv, norm, images)
    assert seen == [1]
