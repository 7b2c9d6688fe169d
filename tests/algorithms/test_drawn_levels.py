"""Levels of dual normalisation drawn in training: the limit that is DAT, lanes by themselves, chances, mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lane_objectives import attacked_by_hand, batch, method_of, network_of

from splitmix.algorithms.adversarial import drawn
from splitmix.algorithms.base import LaneBatch, Problem
from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.models.vit import ViT
from splitmix.randomness import rng
from splitmix.robustness.attacks import FGSM, LinfPGD

PLAIN_LAYERS = {"rescale_init": False, "rescale_layer": False}
LEVELS = (0.0, 0.2, 0.5, 0.8, 1.0)


def trained(method, network, images, labels, seeds):
    """The objective, and the network's gradients and statistics after it, by name."""
    found = method.objective(network, LaneBatch(images, labels, [rng(seed) for seed in seeds]))
    found.loss.sum().backward()
    return found, {name: value.grad for name, value in network.named_parameters()} | dict(network.named_buffers())


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


@pytest.mark.parametrize("draw", ["batch", "image"])
@pytest.mark.parametrize("bn", ["tracked", "batch"])
@pytest.mark.parametrize("masked", [False, True])
def test_drawing_from_the_ends_alone_is_dat(draw, bn, masked):
    """Loss, accuracy, gradients and statistics, with random starts, from the same streams."""
    images, labels = batch(lanes=2)
    found = []
    for levels in ((), (0.0, 1.0)):
        algorithm = SplitMix(**PLAIN_LAYERS, adv_lambda=0.3, lambdas=levels, draw=draw)
        method = method_of(algorithm, bn, attack=LinfPGD(), masked_loss=masked)
        found.append(trained(method, network_of(method, 2), images, labels, (5, 6)))
    (dat, of_dat), (drawn_, of_drawn) = found
    torch.testing.assert_close(drawn_.loss, dat.loss)
    torch.testing.assert_close(drawn_.accuracy, dat.accuracy)
    assert_same(of_drawn, of_dat)


def test_drawing_from_the_ends_alone_is_dat_with_layer_normalisation_too():
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    found = []
    for levels in ((), (0.0, 1.0)):
        algorithm = SplitMix(0.5, **PLAIN_LAYERS, adv_lambda=0.3, lambdas=levels)
        method = algorithm.bind(ViT(), Problem((3, 8, 8), 10, (1.0,), attack=FGSM()))
        found.append(trained(method, network_of(method, 2), images, labels, (5, 6))[1])
    assert_same(found[1], found[0])


@pytest.mark.parametrize("draw", ["batch", "image"])
def test_packed_lanes_draw_and_learn_as_one_lane_at_a_time(draw):
    method = method_of(SplitMix(**PLAIN_LAYERS, adv_lambda=0.5, lambdas=LEVELS, draw=draw), attack=LinfPGD(steps=2))
    images, labels = batch(lanes=3)
    together, tensors = trained(method, network_of(method, 3), images, labels, range(3))
    for lane in range(3):
        one = method.spec.build(1).double().train()
        one.load_lanes({name: value[lane : lane + 1] for name, value in network_of(method, 3).lane_tensors().items()})
        alone, of_one = trained(method, one, images, labels[lane : lane + 1], [lane])
        torch.testing.assert_close(together.loss[lane], alone.loss[0])
        assert_same({name: value[lane : lane + 1] for name, value in tensors.items()}, of_one)


def test_clean_and_attacked_images_pass_at_their_own_levels():
    """With one level for each kind: the attack and both losses by hand, of a network whose branches differ."""
    method = method_of(SplitMix(**PLAIN_LAYERS, adv_lambda=0.3, lambdas=(0.5,), draw="image"))
    images, labels = batch()
    ours, by_hand = network_of(method), network_of(method)
    for network in (ours, by_hand):
        for norm in network.batch_norms()[1::2]:
            norm.running_mean.fill_(0.1)
            norm.bias.data.fill_(0.2)
    found = method.objective(ours, LaneBatch(images, labels, [rng(0)])).loss
    by_hand.set_adv_lambda(0.5)
    moved = attacked_by_hand(by_hand, images, labels)
    by_hand.set_adv_lambda(torch.full((12, 1), 0.5, dtype=torch.float64))
    logits = by_hand(torch.cat([images, moved]))[0]
    losses = [F.cross_entropy(half, labels[0]) for half in logits.chunk(2)]
    torch.testing.assert_close(found[0], 0.7 * losses[0] + 0.3 * losses[1])
    assert (losses[1] > losses[0]).item()


def test_chances_of_clean_images_fall_with_the_level_and_those_of_attacked_ones_rise():
    n = 20_000
    for side, expected in (("clean", [1.0, 0.8, 0.5, 0.2, 0.0]), ("attacked", [0.0, 0.2, 0.5, 0.8, 1.0])):
        levels = drawn(LEVELS, side, n, True, rng(3))
        shares = [np.mean(levels == level) for level in LEVELS]
        np.testing.assert_allclose(shares, np.array(expected) / 2.5, atol=0.02)
    assert len(set(drawn(LEVELS, "clean", 8, False, rng(3)))) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"draw": "client"}, r"algorithm\.draw=client: choose batch or image"),
        ({"lambdas": (0.0, 1.5)}, r"algorithm\.lambdas=\[0\.0, 1\.5\]: give levels from 0 to 1"),
        ({"lambdas": (0.0,)}, r"algorithm\.lambdas=\[0\.0\]: give levels from 0 to 1, one below 1 and one above 0"),
        ({"lambdas": (1.0, 1.0)}, r"algorithm\.lambdas=\[1\.0, 1\.0\]: give levels"),
        ({"lambdas": LEVELS, "adv_lambda": 1.0}, r"set algorithm\.adv_lambda above 0 and below 1"),
        ({"lambdas": LEVELS, "adv_lambda": 0.0}, r"algorithm\.lambdas=.*lie between the branches"),
    ],
)
def test_bad_draws_are_named(settings, words):
    with pytest.raises(UserError, match=words):
        method_of(SplitMix(**{"adv_lambda": 0.5, **settings}))


def test_a_run_with_drawn_levels_says_so():
    labels = [SplitMix(adv_lambda=0.5, lambdas=LEVELS, draw=draw).label for draw in ("batch", "image")]
    assert labels == ["Split-Mix+DAT, λ by batch", "Split-Mix+DAT, λ by image"]
