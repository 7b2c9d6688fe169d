"""Networks whose norms are a slope and an offset compute what batch normalisation with fixed statistics computes."""

import pytest
import torch

from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.fixed_norms import fixed_tensors, norms_of, ordinary, set_level, with_fixed_norms
from splitmix.models.network import NetworkSpec
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT


def lanes_of(model, size, norm):
    """Three lanes with statistics and affine parameters unlike the initial ones, as a network and its tensors."""
    generator = torch.Generator().manual_seed(3)
    spec = NetworkSpec(model, 0.125, (3, size, size), 5, bn="tracked", norm=norm)
    tensors = spec.initial_tensors(3, generator)
    norms = tuple(f"{path}." for path in norms_of(spec.build(1)))
    for name, value in tensors.items():
        if name.startswith(norms) and value.is_floating_point():
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    network = spec.build(3).eval()
    network.load_lanes(tensors)
    return spec, tensors, network, torch.rand(4, 3, size, size, generator=generator)


@pytest.mark.parametrize(("model", "size"), [(DigitCNN(), 8), (PreResNet18(), 16), (ViT(blocks=2), 8)])
@pytest.mark.parametrize(("norm", "level"), [("plain", 0.0), ("dual", 0.0), ("dual", 0.35), ("dual", 1.0)])
@torch.no_grad()
def test_it_equals_the_network_with_statistics(model, size, norm, level):
    spec, tensors, network, images = lanes_of(model, size, norm)
    network.set_adv_lambda(level)
    fixed = with_fixed_norms(spec, 3)
    fixed.load_lanes(fixed_tensors(spec, tensors))
    set_level(fixed, level)
    expected = network(images)
    torch.testing.assert_close(fixed(images), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fixed.lane_view(1, 2)(images)[0], expected[1], rtol=1e-4, atol=1e-4)
    one = with_fixed_norms(spec, 1)
    one.load_lanes({name: value[1:2] for name, value in fixed_tensors(spec, tensors).items()})
    set_level(ordinary(one), level)
    torch.testing.assert_close(one(images)[0], expected[1], rtol=1e-4, atol=1e-4)


def test_levels_differ():
    spec, tensors, _, images = lanes_of(DigitCNN(), 8, "dual")
    fixed = with_fixed_norms(spec, 3)
    fixed.load_lanes(fixed_tensors(spec, tensors))
    clean = fixed(images)
    set_level(fixed, 1.0)
    assert (fixed(images) - clean).abs().max() > 1e-3
