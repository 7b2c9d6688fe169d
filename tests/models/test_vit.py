"""The vision transformer: against PyTorch's, its cost by hand, whole heads in slices, and no need of a batch."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from variants import mostly_slow

from splitmix.algorithms.base import Problem
from splitmix.algorithms.depthfl import DepthFL
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedavg_oat import FedAvgOAT
from splitmix.algorithms.fedrolex import FedRolex
from splitmix.algorithms.fiarse import FIARSE
from splitmix.algorithms.fjord import FjORD
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.scalefl import ScaleFL
from splitmix.algorithms.slices import window
from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import keeps_statistics
from splitmix.evaluation.cost import lane_cost
from splitmix.evaluation.customize import customize
from splitmix.federation.budgets import Groups
from splitmix.models.network import NetworkSpec, lane_template
from splitmix.models.vit import ViT
from splitmix.randomness import torch_rng
from splitmix.robustness.attacks import FGSM
from splitmix.robustness.autoattack import Square

SHAPE = (3, 8, 8)
TINY = ViT(blocks=2, head_size=4)


def built(model=TINY, width=0.5, lanes=1, shape=SHAPE, **settings):
    spec = NetworkSpec(model, width, shape, 10, **settings)
    network = spec.build(lanes).double()
    network.reset_parameters(torch_rng(1, "test"))
    for name, value in network.named_parameters():
        if "norm" in name:
            nn.init.uniform_(value, 0.5, 1.5)
    return network


def images(count=5, shape=SHAPE):
    return torch.rand(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def ordinary(network, model, channels, heads):
    """PyTorch's own layers with the weights of the only lane, as a function of images."""
    values = {name: value[0] for name, value in network.lane_tensors().items()}
    patches = nn.Conv2d(3, channels, model.patch, model.patch).double()
    patches.load_state_dict({"weight": values["patches.weight"], "bias": values["patches.bias"]})
    blocks = []
    for number in range(model.blocks):
        block = nn.TransformerEncoderLayer(
            channels, heads, 4 * channels, 0.0, "gelu", batch_first=True, norm_first=True
        ).double()
        own = {name.removeprefix(f"blocks.{number}."): value for name, value in values.items()}
        # PyTorch has all queries first, then all keys and all values; we have them head by head.
        by_head = {
            leaf: own[f"attention.qkv.{leaf}"].unflatten(0, (heads, 3, model.head_size)).transpose(0, 1).flatten(0, 2)
            for leaf in ("weight", "bias")
        }
        named = {f"self_attn.in_proj_{leaf}": value for leaf, value in by_head.items()}
        places = {"self_attn.out_proj": "attention.proj", "linear1": "fc1", "linear2": "fc2"}
        for theirs, ours in {**places, "norm1": "norm1", "norm2": "norm2"}.items():
            named |= {f"{theirs}.{leaf}": own[f"{ours}.{leaf}"] for leaf in ("weight", "bias")}
        block.load_state_dict(named)
        blocks.append(block)

    def forward(x):
        x = patches(x).flatten(2).transpose(1, 2) + values["positions.weight"]
        for block in blocks:
            x = block(x)
        x = nn.functional.layer_norm(x, (channels,), values["norm.weight"], values["norm.bias"]).mean(1)
        return x @ values["linear.weight"].T + values["linear.bias"]

    return forward


def test_one_lane_is_the_transformer_of_pytorch():
    network = built(width=0.5)
    expected = ordinary(network, TINY, 16, 4)
    torch.testing.assert_close(network.eval()(images())[0], expected(images()))
    ours, theirs = images().requires_grad_(), images().requires_grad_()
    network.train()(ours).square().sum().backward()
    expected(theirs).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("width", "heads"), [(0.125, 1), (0.25, 2), (1.0, 8)])
def test_its_cost_is_what_one_counts_by_hand(width, heads):
    """28x28 pixels are 49 tokens of 32 channels a head; 4 operations per element of a norm, as for the others."""
    tokens, d = 49, 32 * heads
    block = tokens * (3 * d * d + d * d + 2 * 4 * d * d) + heads * 2 * tokens * tokens * 32 + 2 * 4 * tokens * d
    macs = tokens * 3 * 16 * d + 4 * block + 4 * tokens * d + 10 * d
    params = 48 * d + d + 49 * d + 4 * (12 * d * d + (3 + 1 + 4 + 1) * d + 4 * d) + 2 * d + 10 * d + 10
    assert lane_cost(NetworkSpec(ViT(), width, (3, 28, 28), 10)) == (macs, params)


def test_the_norms_take_the_rescale_out_again():
    """In training outputs are divided by the width; the function stays what it is in eval mode."""
    network = built(width=0.125, rescale_layer=True)
    plain, scaled = network.eval()(images()), network.train()(images())
    torch.testing.assert_close(scaled, plain, rtol=1e-3, atol=1e-3)
    stream = network.positions(torch.zeros(1, 1, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(stream[0], 8 * network.positions.weight)


def test_a_slice_has_whole_heads():
    """Queries, keys, values and what projects them belong to the same heads, at the first window and at others."""
    method = FedRolex().bind(ViT(blocks=1, head_size=4), Problem(SHAPE, 10, (0.25, 0.375, 1.0)))
    state, full = method.initial_state(0), method.full
    assert lane_template(method.spec(0.3), 1)["blocks.0.attention.qkv.weight"].shape == (1, 3 * 3 * 4, 10)
    part = window(state.tensors, full, method.spec(0.25), lambda channels: 7)  # heads 7 and 0, channels 7 to 14
    qkv = state.tensors["blocks.0.attention.qkv.weight"][0].view(8, 12, 32)
    assert torch.equal(part["blocks.0.attention.qkv.weight"][0].view(2, 12, 8), qkv[[7, 0], :, 7:15])
    bias = state.tensors["blocks.0.attention.qkv.bias"][0].view(8, 12)
    assert torch.equal(part["blocks.0.attention.qkv.bias"][0].view(2, 12), bias[[7, 0]])
    proj = state.tensors["blocks.0.attention.proj.weight"][0].view(32, 8, 4)
    assert torch.equal(part["blocks.0.attention.proj.weight"][0].view(8, 2, 4), proj[7:15, [7, 0]])
    assert torch.equal(part["positions.weight"], state.tensors["positions.weight"][:, :, 7:15])
    one, two = full.build(1).eval(), full.build(1).eval()
    one.load_lanes(state.tensors)
    two.load_lanes(window(state.tensors, full, full, lambda channels: 5))
    torch.testing.assert_close(one(images().float()), two(images().float()), rtol=1e-4, atol=1e-5)


METHODS = {
    "Split-Mix with dual layer normalisation": SplitMix(adv_lambda=0.5),
    "Split-Mix": SplitMix(),
    "FedAvg": FedAvg(width=0.25),
    "HeteroFL": HeteroFL(),
    "FedRolex": FedRolex(),
    "FjORD": FjORD(self_distillation=True),
    "FedAvg+OAT": FedAvgOAT(width=0.25),
    "FedAvg+OAT, lambda by image": FedAvgOAT(width=0.25, draw="image"),
    "FIARSE": FIARSE(),
    "DepthFL": DepthFL(),
    "ScaleFL": ScaleFL(),
}


@pytest.mark.parametrize("name", mostly_slow(METHODS))
def test_packed_lanes_equal_one_at_a_time(federation, name):
    states = []
    for lanes in (1, 4):
        engine = EngineSettings(lanes=lanes, workers=1, threads=1, precision="64-true")
        fed = federation(METHODS[name], TINY, budget=Groups("8-4"), engine=engine, train_attack=FGSM())
        state = fed.initial_state()
        for _ in range(2):
            state, _ = fed.run_round(state)
        states.append(state.tensors)
    assert any(not torch.equal(value, states[0][name]) for name, value in fed.initial_state().tensors.items())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("one", "two", "budgets"),
    [
        (SplitMix(atom_width=1.0), FedAvg(), "1"),
        (HeteroFL(), FedAvg(), "1"),
        (FedRolex(step=0), HeteroFL(), "8-2"),
        (FedRolex(step=5), HeteroFL(), "4"),
    ],
)
def test_limit_cases(federation, one, two, budgets):
    engine = EngineSettings(lanes=3, workers=1, threads=1, precision="64-true")
    first, second = (
        fed.run_round(fed.initial_state())[0].tensors
        for fed in (federation(method, TINY, budget=Groups(budgets), engine=engine) for method in (one, two))
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_no_prediction_needs_a_batch(federation):
    """What fixes statistics elsewhere changes nothing; a batch of one and an attack on single images are taken."""
    fed = federation(SplitMix(adv_lambda=0.5), TINY, train_attack=FGSM())
    state, _ = fed.run_round(fed.initial_state())
    assert keeps_statistics(fed.method) and not any("model.bn" in note for note in fed.method.notes)
    x = images().float()
    model = customize(fed.method, state, 0.25, 0.3)
    torch.testing.assert_close(model(x[:1])[0], model(x)[0])
    fixed = customize(fed.method, state, 0.25, 0.3, calibration=fed.calibration_images())
    assert torch.equal(fixed(x), model(x))
    trained = fed.test(state, [0.125, 0.25], adv_lambda=0.3)
    for bn in ("post", "static"):
        assert torch.equal(fed.test(state, [0.125, 0.25], adv_lambda=0.3, bn=bn).per_client, trained.per_client)
    assert fed.test(state, [0.125], max_images=4, attack=Square(steps=2)).n_images == 8


def test_fiarse_leaves_the_norms_of_tokens_whole():
    """As it leaves batch normalisation: every client trains all of it."""
    method = FIARSE().bind(TINY, Problem(SHAPE, 10, (0.25, 1.0)))
    assert "blocks.0.fc1.weight" in method.names and "positions.weight" in method.names
    assert not any("norm" in name for name in method.names)


def test_levels_between_the_branches_are_mixtures(federation):
    """A customised model is the network whose dual layer norms stand at the level."""
    fed = federation(SplitMix(adv_lambda=0.5), TINY, train_attack=FGSM())
    state, _ = fed.run_round(fed.initial_state())
    names = [name for name in state.tensors if ".adv." in name]
    assert len(names) == 2 * (2 * TINY.blocks + 1)
    assert all(not torch.equal(state.tensors[n], state.tensors[n.replace(".adv.", ".clean.")]) for n in names)
    network = fed.method.spec.build(8).eval()
    network.load_lanes(state.tensors)
    x, outputs = images().float(), []
    for level in (0.0, 0.3, 1.0):
        network.set_adv_lambda(level)
        outputs.append(network(x)[:2].mean(0))
        torch.testing.assert_close(customize(fed.method, state, 0.25, level)(x), outputs[-1], rtol=1e-4, atol=1e-5)
    assert (outputs[0] - outputs[2]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "width", "words"),
    [
        ({"patch": 3}, 1.0, "model.patch=3: does not divide the images of 8x8 pixels"),
        ({"patch": 0}, 1.0, "model.patch=0: give a number from 1 to 256"),
        ({"blocks": 10**9}, 1.0, "model.blocks=1000000000: give a number from 1 to 256"),
        ({"heads": 4}, 0.125, "model=vit has no channel left at width 0.125: use at least 0.25"),
    ],
)
def test_mistakes(changes, width, words):
    with pytest.raises(UserError, match=words):
        replace(TINY, **changes).check(SHAPE, width)
