"""Residual networks with step sizes and without some blocks: against the ordinary network, lane by lane."""

from dataclasses import replace

import pytest
import torch

from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.module import Module
from splitmix.models.network import NetworkSpec, lane_template
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.residual import skippable_of, step_entries
from splitmix.models.vit import ViT
from splitmix.randomness import torch_rng

FAMILIES = [(PreResNet18(), (3, 16, 16)), (ViT(heads=2, head_size=4), (3, 8, 8))]
STEPS = {"preresnet18": 8, "vit": 8}


def built(spec, lanes=2):
    network = spec.build(lanes).double()
    network.load_lanes(spec.initial_tensors(lanes, torch_rng(0, "test")))
    return network


def spec_of(model, shape, **settings):
    return NetworkSpec(model, 0.5 if model.name == "vit" else 0.125, shape, 10, **settings)


@pytest.mark.parametrize(("model", "shape"), FAMILIES)
def test_steps_of_one_change_nothing_and_draw_nothing(model, shape):
    plain, stepped = built(spec_of(model, shape)), built(spec_of(model, shape, steps=True))
    names = step_entries(stepped.spec)
    assert len(names) == STEPS[model.name] and not step_entries(plain.spec)
    values = stepped.lane_tensors()
    assert values.keys() - names == plain.lane_tensors().keys()
    assert all(torch.equal(values[name], torch.ones(2).double()) for name in names)
    images = torch.rand(4, 6, *shape[1:], dtype=torch.float64)
    assert torch.equal(plain(images), stepped(images))


@pytest.mark.parametrize(("model", "shape"), FAMILIES)
def test_a_step_multiplies_what_the_block_adds_in_its_own_lane(model, shape):
    """Against scaled weights of the layers that end a branch."""
    stepped = built(spec_of(model, shape, steps=True))
    names = sorted(step_entries(stepped.spec))
    steps = {name: torch.tensor([0.3 + 0.1 * i, -1.0 + 0.2 * i]).double() for i, name in enumerate(names)}
    stepped.load_entries(steps)
    plain = built(spec_of(model, shape))
    ends = {"step1": ("attention.proj.weight", "attention.proj.bias"), "step2": ("fc2.weight", "fc2.bias"),
            "step": ("conv2.weight",)}  # fmt: skip
    state = plain.state_dict()
    for name, value in steps.items():
        block, _, step = name.removesuffix(".weight").rpartition(".")
        for end in ends[step]:
            weight = state[f"{block}.{end}"]
            weight.mul_(value.view(-1, *[1] * (weight.dim() - 1)))
    images = torch.rand(4, 6, *shape[1:], dtype=torch.float64)
    torch.testing.assert_close(stepped(images), plain(images))


@pytest.mark.parametrize(("model", "shape"), FAMILIES)
def test_a_network_without_a_block_is_that_whose_steps_there_are_0(model, shape):
    whole = built(spec_of(model, shape, steps=True))
    paths = skippable_of(model)
    assert len(paths) == (4 if model.name == "preresnet18" else 3)
    for skipped in (paths[-1:], paths[:1], paths):
        values = whole.lane_tensors()
        for name in step_entries(whole.spec):
            if name.startswith(tuple(f"{path}." for path in skipped)):
                values[name].zero_()
        silenced = built(whole.spec)
        silenced.load_lanes(values)
        spec = replace(whole.spec, skipped=skipped)
        less = spec.build(2).double()
        less.load_lanes({name: values[name] for name in lane_template(spec, 1)})
        images = torch.rand(4, 6, *shape[1:], dtype=torch.float64)
        torch.testing.assert_close(less(images), silenced(images))
        assert spec.label == f"{whole.spec.label} without {','.join(skipped)}"
        assert whole.spec.holds(spec) and not spec.holds(whole.spec)


def test_only_families_with_residual_blocks_say_which_can_be_left_out():
    assert skippable_of(DigitCNN()) is skippable_of(AlexNet()) is skippable_of(Module()) is None
    assert skippable_of(ViT(blocks=1)) == () and skippable_of(PreResNet18())[-1] == "layer4.1"
