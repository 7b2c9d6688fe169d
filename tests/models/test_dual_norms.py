"""Two-branched batch normalisation: what each branch sees, and that choosing lambda by folding changes nothing."""

import pytest
import torch
from torch import nn
from variants import mostly_slow

from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.dual_norms import DualBatchNorm, TwoBranched
from splitmix.models.dual_token_norms import DualTokenNorm
from splitmix.models.merging import merged_branches
from splitmix.models.network import NetworkSpec
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT
from splitmix.randomness import torch_rng

SMALL = {"digit_cnn": (3, 8, 8), "preresnet18": (3, 16, 16), "alexnet": (3, 64, 64), "vit": (3, 8, 8)}
MODELS = [DigitCNN, PreResNet18, AlexNet, ViT]
LEVELS = (0.0, 0.2, 0.5, 0.8, 1.0)


def scrambled(module):
    """Every branch with parameters and statistics of its own."""
    torch.manual_seed(0)
    for name, value in module.state_dict().items():
        leaf = name.rpartition(".")[2]
        if leaf == "running_var" or (leaf == "weight" and ("clean" in name or "adv" in name)):
            nn.init.uniform_(value, 0.5, 1.5)
        elif leaf in ("bias", "running_mean"):
            nn.init.uniform_(value, -0.5, 0.5)
    return module


def network_of(model, norm, bn="tracked", lanes=2):
    spec = NetworkSpec(model(), 0.25, SMALL[model.name], 10, bn=bn, norm=norm)
    network = spec.build(lanes)
    network.reset_parameters(torch_rng(1, "test"))
    return spec, scrambled(network)


@pytest.mark.parametrize(
    ("norm", "shape"), [(DualBatchNorm(2, 3, tracked=True), (5, 6, 4, 4)), (DualTokenNorm(2, 3), (2, 5, 3))]
)
@pytest.mark.parametrize("training", [False, True])
def test_the_output_is_the_mixture_of_both_branches(norm, shape, training):
    norm = scrambled(norm).train(training)
    x = torch.randn(shape)
    clean, adv = norm.clean(x), norm.adv(x)
    for level in LEVELS:
        norm.set_adv_lambda(level)
        torch.testing.assert_close(norm(x), (1 - level) * clean + level * adv)


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("norm", ["dual", "film"])
@pytest.mark.parametrize("model", [DigitCNN, ViT])
def test_training_at_an_end_touches_only_that_branch(model, norm, level):
    _, network = network_of(model, norm)
    before = network.lane_tensors()
    network.train().set_adv_lambda(level)
    network(torch.rand(6, *SMALL[model.name])).sum().backward()
    own, other = ("clean.", "adv.") if level == 0 else ("adv.", "clean.")
    statistics = [name for name in before if "running" in name or "batches" in name]
    after = network.lane_tensors()
    assert bool(statistics) == (model is DigitCNN)
    assert all(torch.equal(before[name], after[name]) == (other in name) for name in statistics)
    gradients = {name: value.grad for name, value in network.named_parameters()}
    assert all(value is None or not value.any() for name, value in gradients.items() if other in name)
    assert all(value.any() for name, value in gradients.items() if name.endswith(f"{own}bias"))


@pytest.mark.parametrize("bn", ["tracked", "batch"])
@pytest.mark.parametrize("norm", ["dual", "film"])
@pytest.mark.parametrize("model", [*mostly_slow([DigitCNN, PreResNet18, AlexNet]), ViT])
def test_folding_equals_the_interpolated_network(model, norm, bn):
    spec, network = network_of(model, norm, bn)
    x = torch.rand(6, *SMALL[model.name])
    outputs = []
    for level in LEVELS:
        network.eval().set_adv_lambda(level)
        ordinary, tensors = merged_branches(spec, network.lane_tensors(), level)
        plain = ordinary.build(2).eval()
        plain.load_lanes(tensors)
        assert not any(isinstance(module, TwoBranched) for module in plain.modules())
        with torch.no_grad():
            outputs.append(network(x))
            error = (plain(x) - outputs[-1]).abs().max() / outputs[-1].abs().max()
        assert error < 1e-5
    assert all((outputs[0] - other).abs().max() > 1e-2 for other in outputs[1:])


def test_folding_for_new_statistics_mixes_the_affine_parameters_alone():
    spec, network = network_of(DigitCNN, "dual")
    ordinary, tensors = merged_branches(spec, network.lane_tensors(), 0.2, statistics=False)
    assert ordinary.bn == "batch" and not any("running" in name for name in tensors)
    expected = 0.8 * network.bn1.clean.weight + 0.2 * network.bn1.adv.weight
    torch.testing.assert_close(tensors["bn1.weight"], expected.detach())


def test_an_ordinary_network_is_left_alone():
    spec, network = network_of(DigitCNN, "plain")
    tensors = network.lane_tensors()
    assert merged_branches(spec, tensors, 0.5) == (spec, tensors)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("model", [DigitCNN, ViT])
def test_every_lane_may_have_its_own_lambda(model, training):
    """Lanes with lambdas of their own equal one lane at a time, statistics included; a lane that does not learn keeps
    its statistics."""
    _, network = network_of(model, "film", lanes=3)
    network = network.double()
    x = torch.rand(6, *SMALL[model.name], dtype=torch.float64)
    levels, tracking = torch.tensor([0.0, 0.3, 1.0]), torch.tensor([True, True, False])
    alone = []
    for lane, level in enumerate(levels):
        one = network.lane_view(lane, lane + 1)
        one.load_lanes(one.lane_tensors())
        clone = one.spec.build(1).double().train(training)
        clone.load_lanes(one.lane_tensors())
        clone.set_adv_lambda(float(level), tracking[lane : lane + 1])
        alone.append((clone(x)[0], clone.lane_tensors()))
    network.train(training).set_adv_lambda(levels.double(), tracking)
    before = network.lane_tensors()
    together = network(x)
    for lane, (logits, tensors) in enumerate(alone):
        torch.testing.assert_close(together[lane], logits)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value[lane], tensors[name][0])
            if lane == 2 and "running" in name:
                assert torch.equal(value[lane], before[name][lane])


@pytest.mark.parametrize("model", [DigitCNN, ViT])
def test_every_image_may_have_its_own_lambda(model):
    """In eval mode each image is what it is at its lambda alone."""
    _, network = network_of(model, "film", lanes=2, bn="tracked")
    network = network.double().eval()
    x = torch.rand(5, *SMALL[model.name], dtype=torch.float64)
    levels = torch.tensor([[0.0, 0.0, 0.1, 0.7, 1.0], [0.0, 0.0, 0.4, 0.4, 0.2]], dtype=torch.float64)
    network.set_adv_lambda(levels.T)
    by_image = network(x)
    for lane in range(2):
        for number in range(5):
            network.set_adv_lambda(float(levels[lane, number]))
            torch.testing.assert_close(by_image[lane, number], network(x[number : number + 1])[lane, 0])
