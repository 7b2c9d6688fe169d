"""PGD away from the model's own prediction: by hand, in its ball, without labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from splitmix.errors import UserError
from splitmix.randomness import rng
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws
from splitmix.robustness.kl_pgd import KLPGD


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).double()


def images(n=6):
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def perturbed(attack, model, clean, labels=0):
    return attack.perturb(model, clean, torch.full((len(clean),), labels), Draws([rng(0)], [len(clean)]))


def test_its_steps_are_those_of_trades():
    model, clean, eps, size = network(), images(), 6 / 255, 1.5 / 255
    natural = model(clean).softmax(1).detach()
    noise = np.random.Generator.standard_normal(rng(0), tuple(clean.shape), dtype=np.float32)
    moved = clean + 0.001 * torch.from_numpy(noise).double()
    for _ in range(3):
        moved = moved.detach().requires_grad_()
        divergence = F.kl_div(model(moved).log_softmax(1), natural, reduction="sum")
        [gradient] = torch.autograd.grad(divergence, moved)
        moved = (clean + (moved.detach() + size * gradient.sign() - clean).clamp(-eps, eps)).clamp(0, 1)
    torch.testing.assert_close(perturbed(KLPGD(6.0, 3), model, clean), moved)


def test_it_moves_the_prediction_within_its_ball_whatever_the_labels():
    model, clean = network(), images()
    moved, other = (perturbed(KLPGD(8.0), model, clean, labels) for labels in (0, 3))
    assert torch.equal(moved, other)
    assert float((moved - clean).abs().max()) <= 8 / 255 + 1e-9 and float(moved.min()) >= 0 and float(moved.max()) <= 1
    natural = model(clean).softmax(1)
    random = (clean + 8 / 255 * (torch.rand_like(clean) * 2 - 1).sign()).clamp(0, 1)
    kl = [float(F.kl_div(model(x).log_softmax(1), natural, reduction="sum")) for x in (moved, random)]
    assert kl[0] > 3 * kl[1] > 0


def test_robust_accuracy_is_validated_under_an_attack_that_knows_the_labels():
    assert KLPGD(4.0).validation == LinfPGD(4.0) and KLPGD().gradients == 10


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (KLPGD(0.0), "train_attack.eps=0"),
        (KLPGD(steps=0), "train_attack.steps=0"),
        (KLPGD(8.0, 3, -1.0), "step_size=-1"),
    ],
)
def test_mistakes_are_named(attack, words):
    with pytest.raises(UserError, match=words):
        attack.check("train_attack")
