"""Small networks, batches and METHOD's attack by hand, for tests of client objectives on attacked images."""

import torch
import torch.nn.functional as F

from splitmix.algorithms.base import Problem
from splitmix.models.digit_cnn import DigitCNN
from splitmix.randomness import torch_rng
from splitmix.robustness.attacks import LinfPGD

PLAIN = LinfPGD(random_start=False)


def method_of(algorithm, bn="tracked", **settings):
    return algorithm.bind(DigitCNN(bn=bn), Problem((3, 8, 8), 10, (1.0,), **{"attack": PLAIN, **settings}))


def network_of(method, lanes=1):
    network = method.spec.build(lanes).double()
    network.reset_parameters(torch_rng(0, "test"))
    return network.train()


def batch(lanes=1, n=6):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(n, 3, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 10, (lanes, n), generator=generator)


def attacked_by_hand(network, images, labels, eps=8 / 255, steps=7):
    """METHOD's attack on one lane, in eval mode."""
    network.eval()
    moved = images.clone()
    for _ in range(steps):
        moved.requires_grad_()
        [gradient] = torch.autograd.grad(F.cross_entropy(network(moved)[0], labels[0], reduction="sum"), moved)
        moved = moved.detach() + min(1.25 * eps, eps + 4 / 255) / steps * gradient.sign()
        moved = (images + (moved - images).clamp(-eps, eps)).clamp(0, 1)
    network.train()
    return moved
