"""FGSM with a random start: the paper's step, its cost in training, and the guard against overfitting."""

import logging

import pytest
import torch
import torch.nn.functional as F

from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.models.digit_cnn import DigitCNN
from splitmix.randomness import rng
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws
from splitmix.robustness.fgsm_rs import FGSMRS, overfits
from splitmix.runs.overfitting import warn_of_overfitting


@pytest.mark.parametrize("eps", [8.0, 24.0])
def test_one_step_of_five_quarters_eps_from_a_random_point_of_the_ball(eps):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))
    images, labels = torch.rand(6, 3, 4, 4), torch.arange(6)
    noise = (2 * Draws([rng(0)], [6]).uniform(images) - 1) * eps / 255
    start = (images + noise).clamp(0, 1).requires_grad_()
    [gradient] = torch.autograd.grad(F.cross_entropy(model(start), labels, reduction="sum"), start)
    change = (start.detach() + 1.25 * eps / 255 * gradient.sign() - images).clamp(-eps / 255, eps / 255)
    found = FGSMRS(eps).perturb(model, images, labels, Draws([rng(0)], [6]))
    torch.testing.assert_close(found, (images + change).clamp(0, 1))


@pytest.mark.slow
def test_a_step_costs_one_gradient_and_is_validated_under_pgd(federation):
    fast, slow = (federation(SplitMix(adv_lambda=0.5), train_attack=attack) for attack in (FGSMRS(4.0), LinfPGD()))
    # A clean and an attacked pass, and two thirds of a pass for each step of the attack.
    assert fast.method.step_cost == pytest.approx(2 + 2 / 3) and slow.method.step_cost == pytest.approx(2 + 14 / 3)
    assert fast.problem.attack.validation == LinfPGD(4.0) and slow.problem.attack.validation == LinfPGD()
    state = fast.initial_state()
    found = fast.validate_robust(state, [0.25]).per_client
    assert torch.equal(found, fast.validate_robust(state, [0.25], attack=LinfPGD(4.0)).per_client)


def test_the_sign_of_overfitting():
    assert overfits(0.6, 0.29) and not overfits(0.6, 0.3)
    # At chance level half is a matter of luck.
    assert not overfits(0.12, 0.03) and overfits(0.13, 0.03)


@pytest.mark.slow
def test_the_guard_warns_where_only_the_own_attack_is_withstood(federation, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "splitmix")
    fed = federation(SplitMix(adv_lambda=0.5), DigitCNN(bn="tracked"), train_attack=FGSMRS())
    state = fed.run_round(fed.initial_state())[0]
    asked = []

    def validated(state, widths, max_images, attack):
        asked.append((widths, max_images, attack))
        return Accuracy(tuple(widths), torch.full((4, 1), 0.8), torch.zeros(4, 0), 40)

    def ra(value):
        return Accuracy((0.5, 1.0), torch.tensor([[0.9, value]] * 4), torch.zeros(4, 0), 40)

    monkeypatch.setattr(fed, "validate_robust", validated)
    warn_of_overfitting(fed, state, ra(0.5), 40)
    assert not caplog.records and asked == [([1.0], 40, FGSMRS())]
    warn_of_overfitting(fed, state, ra(0.1), 40)
    [told] = caplog.messages
    assert told.startswith("round 1: catastrophic overfitting at ×1: RA 80.0 % under fgsm_rs, 10.0 % under linf_pgd")
    plain = federation(SplitMix(adv_lambda=0.5), train_attack=LinfPGD())
    warn_of_overfitting(plain, state, ra(0.0), 40)
    assert len(caplog.messages) == 1


def test_bad_values_are_named():
    for attack, words in ((FGSMRS(0.0), "train_attack.eps=0"), (FGSMRS(8.0, -1.0), "train_attack.step_size=-1")):
        with pytest.raises(UserError, match=words):
            attack.check("train_attack")
