"""A user's ordinary network over lanes: packed, stacked or separate, it computes what it computes alone."""

import pickle
from dataclasses import replace

import pytest
import torch
from own_nets import Branching, Digit, Mixed, Patches, dropping
from torch import nn
from variants import mostly_slow

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedrolex import FedRolex
from splitmix.algorithms.fjord import FjORD
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.sheterofl import SHeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.evaluation.cost import lane_cost
from splitmix.evaluation.customize import CustomizedModel
from splitmix.models.channels import hidden_dims
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.module import Module
from splitmix.models.network import NetworkSpec
from splitmix.models.packed import PackedNetwork
from splitmix.models.unpacked import UnpackedNetwork
from splitmix.randomness import rng, torch_rng

SHAPE = (3, 8, 8)


def built(factory, lanes=3, packing="auto", **settings):
    network = NetworkSpec(Module(factory, packing=packing), 0.25, SHAPE, 10, **settings).build(lanes).double()
    network.reset_parameters(torch_rng(1, "test"))
    return network


@pytest.mark.parametrize("packing", ["packed", "separate"])
@pytest.mark.parametrize("norm", mostly_slow(["plain", "dual", "film"], 3))
def test_the_plain_digit_cnn_is_the_one_written_over_lanes(packing, norm):
    """Same entries, logits, gradients and statistics, of lanes together and of a part of them."""
    settings = {"rescale_init": True, "rescale_layer": True, "bn": "tracked", "norm": norm}
    ours = built(Digit, packing=packing, **settings)
    theirs = NetworkSpec(DigitCNN(), 0.25, SHAPE, 10, **settings).build(3).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_lanes(ours.lane_tensors())
    for images in (torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.rand(6, 9, 8, 8, dtype=torch.float64)):
        level = torch.tensor([0.0, 0.3, 1.0]).double() if norm == "film" else 0.5
        logits = []
        for network in (ours, theirs):
            network.train().set_adv_lambda(level)
            network.zero_grad()
            logits.append(network(images))
            logits[-1].square().sum().backward()
        torch.testing.assert_close(*logits)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])
    for network in (ours, theirs):
        network.eval().set_adv_lambda(0.3)
    torch.testing.assert_close(ours.lane_view(1, 3)(images[:, 3:]), theirs.lane_view(1, 3)(images[:, 3:]))


@pytest.mark.parametrize(
    ("factory", "packing", "kind"),
    [(Mixed, "packed", PackedNetwork), (Patches, "stacked", UnpackedNetwork), (Branching, "auto", UnpackedNetwork)],
)
@pytest.mark.parametrize("shared", [True, False])
def test_every_lane_is_the_ordinary_network(factory, packing, kind, shared):
    network = built(factory, packing=packing).train()
    assert type(network) is kind and getattr(network, "stacked", True) == (factory is not Branching)
    images = torch.rand(4, 3 if shared else 9, 8, 8, dtype=torch.float64)
    together = network(images)
    for lane in range(3):
        ordinary = factory(0.25, SHAPE, 10).double().train()
        entries = {name: value[lane] for name, value in network.lane_tensors().items()}
        assert set(ordinary.state_dict()) - set(entries) == {
            name for name in ordinary.state_dict() if "running" in name or "batches" in name
        }
        ordinary.load_state_dict(entries, strict=False)
        torch.testing.assert_close(together[lane], ordinary(images if shared else images[:, 3 * lane : 3 * lane + 3]))


@pytest.mark.parametrize(
    "algorithm",
    [
        *(SplitMix(), FedAvg(width=0.25)),
        *(pytest.param(width, marks=pytest.mark.slow) for width in (HeteroFL(), SHeteroFL(), FedRolex(), FjORD())),
    ],
)
def test_a_federation_is_that_of_the_network_written_over_lanes(federation, algorithm):
    """From the same weights, after two rounds."""
    ours, theirs = (federation(algorithm, model) for model in (Module(Digit), DigitCNN()))
    theirs_state, ours_state = theirs.initial_state(), ours.initial_state()
    ours_state = replace(ours_state, tensors=theirs_state.tensors)
    for _ in range(2):
        ours_state, ours_metrics = ours.run_round(ours_state)
        theirs_state, theirs_metrics = theirs.run_round(theirs_state)
        assert ours_metrics.loss == pytest.approx(theirs_metrics.loss, rel=1e-5)
    for name, value in theirs_state.tensors.items():
        torch.testing.assert_close(ours_state.tensors[name], value, rtol=1e-5, atol=1e-5)


def test_hidden_dimensions_are_those_of_the_network_written_over_lanes():
    """Also the block of inputs that a linear layer has for every channel of the image before it."""
    ours, theirs = (NetworkSpec(model, 0.5, SHAPE, 10, slice=True) for model in (Module(Digit), DigitCNN()))
    assert hidden_dims(ours) == hidden_dims(theirs)


@pytest.mark.parametrize("packing", ["packed", "separate"])
def test_costs_are_those_of_the_network_written_over_lanes(packing):
    ours, theirs = Module(Digit, packing=packing), DigitCNN()
    assert lane_cost(NetworkSpec(ours, 0.25, SHAPE, 10)) == lane_cost(NetworkSpec(theirs, 0.25, SHAPE, 10))


def test_initial_weights_follow_from_the_seed_and_differ_between_lanes():
    torch.manual_seed(0)
    first = built(Digit).lane_tensors()
    torch.rand(3)
    second = built(Digit).lane_tensors()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["conv1.weight"][0], first["conv1.weight"][1])


@pytest.mark.parametrize("packing", ["packed", "separate"])
def test_a_lane_drops_the_same_whatever_is_packed_with_it(packing):
    network = built(dropping, packing=packing).train()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    network.draw_from([rng(0, "dropout", lane) for lane in range(3)])
    together = network(images)
    alone = network.lane_view(2, 3)
    alone.draw_from([rng(0, "dropout", 2)])
    torch.testing.assert_close(alone(images)[0], together[2])
    assert not torch.equal(network(images), together)
    assert torch.equal(network.eval()(images), network(images))


def frozen(width, input_shape, classes):
    network = dropping(width, input_shape, classes)
    return network.requires_grad_(False)


def deeper(width, input_shape, classes):
    layers = [nn.Linear(10, 10) for _ in range(round(4 * width))]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10), *layers, nn.Linear(10, classes))


def eps(width, input_shape, classes):
    return nn.Sequential(nn.BatchNorm2d(3, eps=0.1), dropping(width, input_shape, classes))


def failing(width, input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, classes))


def rigid(width, input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, classes))


def features(width, input_shape, classes):
    return nn.Flatten()


@pytest.mark.parametrize(
    ("factory", "settings", "words"),
    [
        (frozen, {}, "the parameter 2.weight is frozen"),
        (deeper, {"rescale_init": True}, "makes different layers"),
        (eps, {}, "0 has eps=0.1"),
        (failing, {}, "forward fails for images .*RuntimeError"),
        (rigid, {}, "makes the same network at width 0.25 and at 1"),
        (features, {}, "has no parameter to train"),
        (Patches, {"rescale_layer": True}, "place is of no convolution or linear layer.*rescale_layer=false"),
        (Patches, {"slice": True}, "cannot be trained in slices"),
        (Mixed, {"slice": True}, "cannot be trained in slices"),
        (Patches, {"packing": "packed"}, "cannot be packed"),
        (Branching, {"packing": "stacked"}, "torch.func cannot stack its lanes"),
        (dropping, {"norm": "dual"}, "no batch normalisation, which a level of robustness needs"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(factory, settings, words):
    with pytest.raises(UserError, match=rf"model\.factory=\S*{factory.__name__}: .*{words}"):
        built(factory, **settings)


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "packing"), [(Digit, "packed"), (Digit, "separate"), (Patches, "stacked")])
def test_a_customised_model_can_be_exported_and_pickled(factory, packing):
    network = built(factory, 2, packing=packing, bn="tracked").float().eval()
    model = CustomizedModel(network).eval()
    images = torch.rand(4, *SHAPE)
    copied = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(copied(images), model(images))
    with torch.no_grad():
        script = torch.jit.trace(model, images)
        exported = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n")},)).module()
    more = torch.rand(7, *SHAPE)
    for other in (script, exported):
        torch.testing.assert_close(other(more), model(more))
