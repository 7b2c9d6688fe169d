"""CalFAT: its objective by hand, what it is for equal classes, what it counts, and every engine path."""

import pytest
import torch
import torch.nn.functional as F
from lane_objectives import PLAIN, batch, method_of, network_of
from rounds import check_every_path_is_one_lane_at_a_time

from splitmix.algorithms.base import LaneBatch
from splitmix.algorithms.calfat import CalFAT
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.malicious import Backdoor
from splitmix.errors import UserError
from splitmix.randomness import rng
from splitmix.robustness.attacks import FGSM, NoAttack

COUNTS = torch.tensor([[9.0, 1.0, 0.0, 4.0, 20.0, 2.0, 3.0, 0.0, 50.0, 7.0]], dtype=torch.float64)


def test_the_objective_is_the_papers():
    """The attack raises CE(logits + log n / s), the loss is CE(s logits + log n) on attacked images."""
    method = method_of(CalFAT(0.125, scale=4.0), attack=PLAIN)
    ours, by_hand = network_of(method), network_of(method)
    images, labels = batch()
    log_counts = COUNTS[0].clamp(min=1).log()  # a class without images counts as one image
    objective = method.objective(ours, LaneBatch(images, labels, [rng(0)], class_counts=COUNTS))
    by_hand.eval()
    moved = images.clone()
    for _ in range(7):
        moved.requires_grad_()
        loss = F.cross_entropy(by_hand(moved)[0] + log_counts / 4, labels[0], reduction="sum")
        [gradient] = torch.autograd.grad(loss, moved)
        moved = moved.detach() + min(10 / 255, 12 / 255) / 7 * gradient.sign()
        moved = (images + (moved - images).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    by_hand.train()
    logits = by_hand(moved)[0]
    torch.testing.assert_close(objective.loss, F.cross_entropy(4 * logits + log_counts, labels[0])[None])
    assert float(objective.accuracy) == pytest.approx(float((logits.argmax(-1) == labels[0]).double().mean()))


def test_with_equally_many_images_of_every_class_it_is_adversarial_training():
    images, labels = batch()
    lanes = LaneBatch(images, labels, [rng(0)], class_counts=torch.full((1, 10), 5.0, dtype=torch.float64))
    losses = []
    for algorithm in (CalFAT(0.125, scale=1.0), FedAvg(0.125, adv_lambda=1.0)):
        method = method_of(algorithm)
        losses.append(method.objective(network_of(method), lanes).loss)
    torch.testing.assert_close(*losses)


@pytest.mark.slow
def test_every_path_of_the_engine_is_one_lane_at_a_time(federation):
    def calibrated(engine):
        return federation(CalFAT(0.125), engine=engine, train_attack=FGSM())

    fed, _ = check_every_path_is_one_lane_at_a_time(calibrated)
    assert fed.method.adv_lambda == 1 and fed.method.adv_lambdas == (0.0,)


def test_it_is_told_how_many_images_of_each_class_a_client_has(federation):
    fed = federation(CalFAT(0.125), local_epochs=2, train_attack=FGSM())
    asked, objective = [], type(fed.method).objective

    def watched(method, network, lanes):
        asked.append((lanes.clients, lanes.class_counts))
        return objective(method, network, lanes)

    type(fed.method).objective, kept = watched, objective
    try:
        fed.run_round(fed.initial_state())
    finally:
        type(fed.method).objective = kept
    labels = fed.engine.train_set.labels
    for clients, counts in asked:
        for client, of_client in zip(clients, counts, strict=True):
            images = fed.clients[client].train
            assert of_client.tolist() == labels[images].bincount(minlength=counts.shape[1]).tolist()
    assert {client for clients, _ in asked for client in clients} == set(range(len(fed.clients)))


def test_an_attacker_claims_at_least_one_image_of_its_target():
    counts = torch.tensor([5.0, 0.0, 7.0])
    assert Backdoor(target=1).seen(counts).tolist() == [5, 1, 7]
    assert Backdoor(target=2).seen(counts).tolist() == [5, 0, 7]


@pytest.mark.parametrize(
    ("algorithm", "settings", "words"),
    [
        (CalFAT(adv_lambda=0.5), {}, "algorithm.adv_lambda=0.5: CalFAT trains on attacked images alone"),
        (CalFAT(scale=0.0), {}, "algorithm.scale=0: give a number above 0"),
        (CalFAT(0.0), {}, "algorithm.width=0"),
        (CalFAT(), {"attack": NoAttack()}, "train_attack=none"),
    ],
)
def test_mistakes_are_named(algorithm, settings, words):
    with pytest.raises(UserError, match=words):
        method_of(algorithm, **settings)
