"""The networks: against ordinary PyTorch, lanes apart, costs of the paper, slices, names of entries."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from variants import mostly_slow

from splitmix.algorithms.averaging import corners
from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.slices import forward_slices
from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.evaluation.cost import costs
from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import NetworkSpec, lane_template
from splitmix.models.norms import LaneBatchNorm
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT
from splitmix.randomness import torch_rng

SHAPES = {"digit_cnn": (3, 28, 28), "preresnet18": (3, 32, 32), "alexnet": (3, 256, 256), "vit": (3, 28, 28)}
SMALL = {"digit_cnn": (3, 8, 8), "preresnet18": (3, 16, 16), "alexnet": (3, 64, 64), "vit": (3, 8, 8)}
MODELS = [DigitCNN, PreResNet18, AlexNet, ViT]
WIDTHS = (0.125, 0.25, 0.5, 1.0)

# PAPER.md: MACs per image and parameters of one network, by width.
COSTS = {
    "digit_cnn": [(1_194_304, 224_194), (3_763_584, 892_154), (13_027_072, 3_559_402), (48_053_760, 14_219_210)],
    "preresnet18": [(9_151_104, 176_178), (35_603_712, 701_018), (140_413_440, 2_796_714), (557_650_944, 11_172_170)],
    "alexnet": [(24_839_544, 901_714), (75_642_224, 3_583_770), (255_136_992, 14_288_938), (925_684_160, 57_063_498)],
    # Not in the paper: counted by hand in test_vit.py.
    "vit": [(3_155_136, 54_346), (11_127_168, 206_986), (41_521_920, 807_178), (160_114_176, 3_187_210)],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_costs_are_those_of_the_paper(model):
    problem = Problem(SHAPES[model.name], 10, WIDTHS)
    expected = COSTS[model.name]
    assert [costs(HeteroFL().bind(model(), problem), [width])[width] for width in WIDTHS] == expected
    assert [costs(FedAvg(width=width).bind(model(), problem), [width])[width] for width in WIDTHS] == expected
    macs, params = expected[0]
    mixes = costs(SplitMix().bind(model(), problem), WIDTHS)
    assert [mixes[width] for width in WIDTHS] == [(macs * m, params * m) for m in (1, 2, 4, 8)]


def built(model, lanes, width=0.25, **settings):
    spec = NetworkSpec(model(), width, SMALL[model.name], 10, **settings)
    network = spec.build(lanes).double()
    network.reset_parameters(torch_rng(1, "test"))
    for norm in network.batch_norms():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return spec, network


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bn", ["batch", "tracked"])
@pytest.mark.parametrize("shared", mostly_slow([True, False], 2))
def test_lanes_together_are_each_lane_alone(model, bn, shared):
    spec, network = built(model, 3, rescale_layer=True, bn=bn)
    channels = 3 if shared else 9
    images = torch.rand(4, channels, *SMALL[model.name][1:], dtype=torch.float64)
    for mode in (True, False):
        together = network.train(mode)(images)
        for lane in range(3):
            alone = spec.build(1).double().train(mode)
            alone.load_lanes(network.lane_tensors(), [lane])
            if mode:  # the pass over all lanes has moved their statistics
                for norm in alone.batch_norms():
                    norm.tracked = False
            own = images if shared else images[:, 3 * lane : 3 * lane + 3]
            torch.testing.assert_close(alone(own)[0], together[lane])


class OrdinaryBlock(nn.Module):
    """He et al., 2016: BN, ReLU, conv, BN, ReLU, conv, plus shortcut."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.n1, self.n2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if stride == 2 else None

    def forward(self, x):
        out = F.relu(self.n1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        return self.conv2(F.relu(self.n2(self.conv1(out)))) + shortcut


class OrdinaryPreResNet(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        for i, (before, after) in enumerate(zip([widths[0], *widths[:-1]], widths, strict=True)):
            blocks = OrdinaryBlock(before, after, 2 if i else 1), OrdinaryBlock(after, after, 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.n4, self.linear = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], 10)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(F.relu(self.n4(x)).mean((2, 3)))


class OrdinaryAlexNet(nn.Module):
    def __init__(self, c, h):
        super().__init__()
        sizes = [(3, c[0], 11, 4, 2), (c[0], c[1], 5, 1, 2), (c[1], c[2], 3, 1, 1)]
        sizes += [(c[2], c[3], 3, 1, 1), (c[3], c[4], 3, 1, 1)]
        features = {f"conv{i + 1}": nn.Conv2d(*size) for i, size in enumerate(sizes)}
        features |= {f"bn{i + 1}": nn.BatchNorm2d(n) for i, n in enumerate(c)}
        self.features = nn.ModuleDict(features)
        linear = {"fc1": nn.Linear(36 * c[4], h[0]), "fc2": nn.Linear(h[0], h[1]), "fc3": nn.Linear(h[1], 10)}
        self.classifier = nn.ModuleDict({**linear, "bn6": nn.BatchNorm1d(h[0]), "bn7": nn.BatchNorm1d(h[1])})

    def forward(self, x):
        f, c = self.features, self.classifier
        for i in range(1, 6):
            x = F.relu(f[f"bn{i}"](f[f"conv{i}"](x)))
            if i in (1, 2, 5):
                x = F.max_pool2d(x, 3, 2)
        x = F.adaptive_avg_pool2d(x, 6).flatten(1)
        x = F.relu(c["bn6"](c["fc1"](x)))
        return c["fc3"](F.relu(c["bn7"](c["fc2"](x))))


@pytest.mark.parametrize(
    ("model", "ordinary"),
    [
        (PreResNet18, lambda: OrdinaryPreResNet([16, 32, 64, 128])),
        (AlexNet, lambda: OrdinaryAlexNet([16, 48, 96, 64, 64], [1024, 1024])),
    ],
)
def test_one_lane_is_the_ordinary_network(model, ordinary):
    """Same entries by name, same logits, same gradients, in training and in eval mode."""
    _, network = built(model, 1, bn="tracked")
    plain = ordinary().double()
    state = {name: value[0] for name, value in network.lane_tensors().items()}
    plain.load_state_dict(state)
    images = torch.rand(4, *SMALL[model.name], dtype=torch.float64)
    torch.testing.assert_close(network.eval()(images)[0], plain.eval()(images))
    ours, theirs = network.train()(images)[0], plain.train()(images)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    gradients = {name: value.grad for name, value in plain.named_parameters()}
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.grad[0], gradients[name])
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value[0], plain.state_dict()[name])


@pytest.mark.parametrize("model", MODELS)
def test_a_slice_is_the_narrower_network_on_the_first_channels(model):
    spec, network = built(model, 2, width=1 / 4, slice=True, rescale_layer=True)
    images = torch.rand(4, 3, *SMALL[model.name][1:], dtype=torch.float64)
    found = dict(forward_slices(dict(network.named_parameters()), spec, [1 / 16, 1 / 8, 1 / 4], images))
    assert list(found) == [1 / 4, 1 / 8, 1 / 16]
    for width, logits in found.items():
        narrow = NetworkSpec(model(), width, SMALL[model.name], 10, slice=True, rescale_layer=True)
        alone = narrow.build(2).double().train()
        alone.load_lanes(corners(network.lane_tensors(), lane_template(narrow, 1)))
        torch.testing.assert_close(alone(images), logits)


def test_the_outputs_of_sliced_layers_are_divided_by_the_width_while_training():
    """The stem, both convolutions and the projection of PreResNet, each before the addition."""
    settings = [{"rescale_layer": True}, {}]
    (_, scaled), (_, plain) = (built(PreResNet18, 1, **setting) for setting in settings)
    plain.load_lanes(scaled.lane_tensors())
    images = torch.rand(4, *SMALL["preresnet18"], dtype=torch.float64)
    convolutions = [
        name for name in plain.state_dict() if name.endswith(("conv1.weight", "conv2.weight", "shortcut.weight"))
    ]
    assert len(convolutions) == 1 + 16 + 3
    for name in convolutions:
        plain.state_dict()[name].div_(0.25)
    torch.testing.assert_close(scaled.train()(images), plain.train()(images))
    for name in convolutions:
        plain.state_dict()[name].mul_(0.25)
    torch.testing.assert_close(scaled.eval()(images), plain.eval()(images))


@pytest.mark.parametrize("model", MODELS)
def test_rescaled_initialisation_has_the_fan_in_of_the_full_network(model):
    spec = NetworkSpec(model(), 0.125, SHAPES[model.name], 10, rescale_init=True)
    full = lane_template(NetworkSpec(model(), 1.0, SHAPES[model.name], 10), 1)
    tensors = spec.initial_tensors(1, torch_rng(3, "test"))
    inputs = {name: value for name, value in tensors.items() if value.dim() > 2 and not name.startswith("positions")}
    for number, (name, value) in enumerate(inputs.items()):
        fan_in = (value if number == 0 else full[name])[0, 0].numel()
        assert value.abs().max() <= fan_in**-0.5
        assert value.abs().max() >= 0.9 * fan_in**-0.5, name
    if model is PreResNet18:
        assert not tensors["linear.bias"].any()


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (AlexNet, (3, 28, 28), "model=alexnet needs images of at least 63x63"),
        (PreResNet18, (1, 8, 8), "model=preresnet18 needs images of at least 16x16"),
        (DigitCNN, (3, 2, 2), "model=digit_cnn needs images of at least 4x4"),
        (AlexNet, (3, 63, 63), None),
        (PreResNet18, (1, 16, 16), None),
    ],
)
def test_images_too_small_are_refused_early(model, shape, words):
    if words is None:
        model().check(shape, 0.125)
        spec = NetworkSpec(model(), 0.125, shape, 7)
        assert spec.build(2)(torch.rand(3, *shape)).shape == (2, 3, 7)
        return
    with pytest.raises(UserError, match=words):
        model().check(shape, 0.125)
    with pytest.raises(UserError, match=r"no channel left at width 0\.01"):
        model().check((3, 256, 256), 0.01)


def test_channels_last_statistics_are_as_accurate_as_float32_allows():
    """PyTorch's own sums lose two digits there (see `splitmix.models.norms`)."""
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(32, 16, 28, 28, generator=generator) * 2 + 0.5).contiguous(memory_format=torch.channels_last)
    results = []
    for x in (images.requires_grad_(), images.detach().double().requires_grad_()):
        norm = LaneBatchNorm(2, 8, tracked=True).to(x.dtype)
        out = norm(x)
        weights = torch.linspace(0, 1, out.numel(), dtype=x.dtype).view(out.shape)
        (out * weights.sin()).sum().backward()
        results.append(SimpleNamespace(out=out, grad=x.grad, mean=norm.running_mean, var=norm.running_var))
    ours, exact = results
    for name, tolerance in (("out", 1e-6), ("mean", 1e-6), ("var", 1e-6)):
        torch.testing.assert_close(
            getattr(ours, name).double(), getattr(exact, name), rtol=tolerance, atol=tolerance, msg=name
        )
    assert (ours.grad - exact.grad).abs().max() < 1e-4 * exact.grad.abs().max()


@pytest.mark.parametrize("n", [2, 3, 13])
def test_odd_batches_on_several_threads_survive(n):
    """Strided 1x1 convolutions used to end the process here (see `LaneConv2d.forward`)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    network = NetworkSpec(PreResNet18(), 0.125, (3, 32, 32), 10).build(1).train()
    network.reset_parameters(torch_rng(0, "test"))
    for _ in range(5):
        images = torch.rand(n, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        network(images).square().sum().backward()
    assert all(value.grad.isfinite().all() for value in network.parameters())
    torch.set_num_threads(threads)
