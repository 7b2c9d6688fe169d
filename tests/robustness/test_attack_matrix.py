"""Every attack on every network in every BN mode: in training, in validation of RA, and in a test."""

import dataclasses
from functools import cache, partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from variants import mostly_slow

from splitmix.algorithms.splitmix import SplitMix
from splitmix.binding import bind
from splitmix.config import conf_dir
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.engine.settings import EngineSettings
from splitmix.federation.budgets import Groups
from splitmix.federation.federation import Federation
from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT

NETWORKS = {
    "digit_cnn": (DigitCNN, 8),
    "preresnet18": (PreResNet18, 16),
    "alexnet": (AlexNet, 63),
    "vit": (partial(ViT, blocks=1, heads=16, head_size=4), 8),
}
MODES = ("batch", "tracked", "local")
MODES_OF = {name: ("none",) if name == "vit" else MODES for name in NETWORKS}  # it has no batch normalisation
WIDTH = 1 / 16


def cases(*estimated):
    """Networks and their BN modes, with estimated ones where there is batch normalisation; some of them quick."""
    return [
        pytest.param(name, bn, marks=[] if name in ("digit_cnn", "vit") else pytest.mark.slow)
        for name in NETWORKS
        for bn in (*MODES_OF[name], *(estimated if MODES_OF[name] == MODES else ()))
    ]


def options(group):
    """The config group's files, with two steps; those that then do the same are taken once."""
    found = {}
    for file in sorted((conf_dir() / group).glob("*.yaml")):
        attack = bind(OmegaConf.to_container(OmegaConf.load(file)), group)
        attack = dataclasses.replace(attack, steps=2) if hasattr(attack, "steps") else attack
        if attack not in found.values():
            found[file.stem] = attack
    return found


ATTACKS, TRAIN_ATTACKS = options("attack"), options("train_attack")
FOR_TRAINING = [name for name, attack in TRAIN_ATTACKS.items() if attack.gradients]


def image_set(count, side, seed):
    generator = np.random.default_rng(seed)
    images = torch.from_numpy(generator.integers(0, 256, (count, 3, side, side), dtype=np.uint8))
    return ImageSet(images, torch.arange(count) % 4, (count,))


def federation_of(network, bn, attack):
    """Two clients on noise who train two base models with dual BN."""
    model, side = NETWORKS[network]
    dataset = Dataset("noise", ("a",), tuple("0123"), image_set(32, side, 0), image_set(8, side, 1))
    network = model() if bn == "none" else model(bn=bn)
    return Federation(
        dataset, SplitMix(WIDTH, adv_lambda=0.5), network, budget=Groups("8"), train_attack=attack,
        engine=EngineSettings(lanes=2, workers=1, threads=1), clients_per_domain=2, batch_size=8, rounds=1,
    )  # fmt: skip


@cache
def trained(network, bn):
    federation = federation_of(network, bn, TRAIN_ATTACKS["fgsm"])
    return federation, federation.run_round(federation.initial_state())[0]


def test_each_option_that_trains_can_also_test():
    assert {"fgsm", "l2_pgd", "linf_pgd", "mim"} <= set(FOR_TRAINING) - {"fgsm_rs", "kl_pgd"} <= set(ATTACKS)


@pytest.mark.parametrize("name", mostly_slow(FOR_TRAINING, 2))
@pytest.mark.parametrize(("network", "bn"), cases())
def test_trains_and_validates(network, bn, name):
    federation = federation_of(network, bn, TRAIN_ATTACKS[name])
    state, metrics = federation.run_round(federation.initial_state())
    assert np.isfinite(metrics.loss) and state.round == 1
    assert federation.validate_robust(state, [WIDTH, 2 * WIDTH], max_images=4).n_images == 4


@pytest.mark.parametrize("name", mostly_slow([name for name in ATTACKS if name != "autoattack"], 2))
@pytest.mark.parametrize(("network", "bn"), cases("post"))
def test_tests(network, bn, name):
    check_test(network, bn, name)


# AutoAttack on the large network takes minutes: in one mode alone.
AUTOATTACKED = [case.values for case in cases("post") if case.values[1] != "batch"]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "bn"), [case for case in AUTOATTACKED if case != ("preresnet18", "local")])
def test_tests_with_autoattack(network, bn):
    check_test(network, bn, "autoattack")


def check_test(network, bn, name):
    federation, state = trained(network, "batch" if bn == "post" else bn)
    attack = ATTACKS[name]
    if bn == "batch" and attack.fixed_statistics:
        pytest.skip("needs fixed statistics, and is refused otherwise (test_autoattack.py)")
    accuracy = federation.test(
        state, [WIDTH, 2 * WIDTH], adv_lambda=0.5, bn="post" if bn == "post" else "trained", max_images=4, attack=attack
    )
    assert accuracy.n_images == 4 and accuracy.per_client.shape == (2, 2)
