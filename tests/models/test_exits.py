"""Networks with early exits: the ordinary network where they have one, and names, weights and shapes of their parts."""

from dataclasses import replace

import pytest
import torch

from splitmix.models.alexnet import AlexNet
from splitmix.models.channels import classifier_entries, hidden_dims
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.exits import exits_of, of_exits
from splitmix.models.network import NetworkSpec, lane_template
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT
from splitmix.randomness import torch_rng

FAMILIES = [(DigitCNN(), (3, 12, 12)), (PreResNet18(), (3, 16, 16)), (ViT(), (3, 12, 12))]


def spec_of(model, shape, **settings):
    return NetworkSpec(model, 0.125, shape, 10, **settings)


def built(spec, lanes=2):
    network = spec.build(lanes).double()
    network.load_lanes(spec.initial_tensors(lanes, torch_rng(0, "test")))
    return network


@pytest.mark.parametrize(("model", "shape"), FAMILIES)
def test_the_last_exit_is_the_ordinary_network(model, shape):
    plain, whole = spec_of(model, shape), spec_of(model, shape, exits=(1, 2, 3, 4))
    assert plain.depth == 0 and "exits" not in plain.label and whole.label == f"{plain.label} exits 1,2,3,4"
    first, second = built(plain), built(whole)
    values = second.lane_tensors()
    for name, value in first.lane_tensors().items():  # the same names, and drawn alike
        assert torch.equal(value, values[name]), name
    images = torch.rand(4, 6, *shape[1:], dtype=torch.float64)
    logits = second.exit_logits(images)
    assert [one.shape for one in logits] == [(2, 4, 10)] * 4
    assert torch.equal(second(images), logits[-1]) and torch.equal(first(images), logits[-1])
    assert len(first.exit_logits(images)) == 1 and torch.equal(first.exit_logits(images)[0], logits[-1])
    assert spec_of(model, shape, exits=(4,)).build(2).state_dict().keys() == first.state_dict().keys()
    mean = replace(whole, ensemble=True).build(2).double()
    mean.load_lanes(values)
    torch.testing.assert_close(mean(images), torch.stack(logits).mean(0))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("model", "shape"), FAMILIES)
def test_a_shallow_network_is_the_beginning_of_a_deep_one(model, shape, depth):
    whole = built(spec_of(model, shape, exits=(1, 2, 3, 4)))
    spec = spec_of(model, shape, exits=(depth,))
    shallow = spec.build(2).double()
    shallow.load_lanes({name: whole.lane_tensors()[name] for name in lane_template(spec, 1)})
    images = torch.rand(4, 6, *shape[1:], dtype=torch.float64)
    torch.testing.assert_close(shallow(images), whole.exit_logits(images)[depth - 1])
    assert len(lane_template(spec, 1)) < len(lane_template(whole.spec, 1))


@pytest.mark.parametrize(("model", "shape"), FAMILIES)
def test_heads_are_sliced_by_channel_and_hold_a_row_for_each_class(model, shape):
    spec = spec_of(model, shape, exits=(1, 2, 3, 4))
    names = set(lane_template(spec, 1))
    last = "fc2" if model.name == "digit_cnn" else "linear"
    rows = {f"heads.{stage}.{last}.{leaf}" for stage in "123" for leaf in ("weight", "bias")}
    assert rows <= names and rows < set(classifier_entries(spec)) and len(classifier_entries(spec)) == 8
    blocks = {name: block for name, dim, block in hidden_dims(spec) if dim == 2}
    first, pixels = ("fc1", 9) if model.name == "digit_cnn" else ("linear", 1)
    assert [blocks[f"heads.{stage}.{first}.weight"] for stage in "123"] == [pixels] * 3


def test_networks_without_early_exits_say_so():
    assert exits_of(AlexNet()) == 0 and exits_of(DigitCNN()) == exits_of(PreResNet18()) == exits_of(ViT()) == 4
    logits = [torch.zeros(1, 2, 3), torch.ones(1, 2, 3)]
    assert of_exits(logits, False) is logits[1] and (of_exits(logits, True) == 0.5).all()
