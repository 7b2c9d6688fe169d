"""Adversarial training: the objective by hand, its limits, the methods' networks, what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lane_objectives import attacked_by_hand, batch, method_of, network_of

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.base import LaneBatch
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedavg_oat import FedAvgOAT
from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.randomness import rng
from splitmix.robustness.attacks import FGSM, LinfPGD, NoAttack

DAT = SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.3)


@pytest.mark.parametrize("algorithm", [DAT, FedAvg(0.125, adv_lambda=0.3)], ids=["dat", "at"])
def test_the_objective_is_the_papers(algorithm):
    """Clean pass, attack through the adversarial branch, attacked pass: losses, statistics and gradients by hand."""
    method = method_of(algorithm)
    ours, by_hand = network_of(method), network_of(method)
    images, labels = batch()
    found = method.objective(ours, LaneBatch(images, labels, [rng(0)]))
    found.loss.sum().backward()
    by_hand.set_adv_lambda(0.0)
    clean = by_hand(images)[0]
    by_hand.set_adv_lambda(1.0)
    adv = by_hand(attacked_by_hand(by_hand, images, labels))[0]
    loss = 0.7 * F.cross_entropy(clean, labels[0]) + 0.3 * F.cross_entropy(adv, labels[0])
    torch.testing.assert_close(found.loss, loss[None])
    right = [(logits.argmax(-1) == labels[0]).float().mean() for logits in (clean, adv)]
    torch.testing.assert_close(found.accuracy, torch.stack(right).mean()[None])
    by_hand.zero_grad()
    loss.backward()
    for (name, value), other in zip(ours.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(value.grad, other.grad, msg=name)
    for (name, value), other in zip(ours.named_buffers(), by_hand.buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=name)
    assert ours.training and all(value.requires_grad for value in ours.parameters())
    batches = [value for name, value in ours.named_buffers() if "batches" in name]
    assert {int(value) for value in batches} == ({1} if len(method.adv_lambdas) > 1 else {2})


def test_label_skew_masks_the_losses_but_not_the_attack():
    method = method_of(DAT, masked_loss=True)
    network, by_hand = network_of(method), network_of(method)
    images, labels = batch()
    found = method.objective(network, LaneBatch(images, labels, [rng(0)])).loss
    by_hand.set_adv_lambda(0.0)
    clean = by_hand(images)[0]
    by_hand.set_adv_lambda(1.0)
    adv = by_hand(attacked_by_hand(by_hand, images, labels))[0]
    present = torch.zeros(10, dtype=torch.float64)
    present[labels[0]] = 1
    losses = [F.cross_entropy(logits * present, labels[0]) for logits in (clean, adv)]
    torch.testing.assert_close(found, (0.7 * losses[0] + 0.3 * losses[1])[None])


def test_lambda_one_is_one_ordinary_norm_without_a_clean_pass():
    method = method_of(SplitMix(adv_lambda=1.0))
    assert method.spec.norm == "plain" and method.adv_lambdas == (0.0,)
    network = network_of(method)
    method.objective(network, LaneBatch(*batch(), [rng(0)]))
    assert {int(value) for name, value in network.named_buffers() if "batches" in name} == {1}


def test_lambda_zero_is_plain_training(federation):
    plain, zero = (federation(SplitMix(adv_lambda=weight), train_attack=attack) for weight, attack in
                   ((0.0, None), (0.0, FGSM())))  # fmt: skip
    states = [fed.run_round(fed.initial_state())[0].tensors for fed in (plain, zero)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert not any("adv" in name for name in states[0])


@pytest.mark.slow
def test_oat_draws_a_lambda_per_lane_and_batch():
    """The loss of a lane is that of its own lambda; a lane at lambda 0 learns from clean images alone."""
    method = method_of(FedAvgOAT(0.125, lambdas=(0.0, 0.4)))
    images, labels = batch(lanes=4)
    found = {}
    for seed in range(3):
        network = network_of(method, lanes=4)
        drawn = [float(rng(seed, lane).choice((0.0, 0.4))) for lane in range(4)]
        loss = method.objective(network, LaneBatch(images, labels, [rng(seed, lane) for lane in range(4)])).loss
        for lane, level in enumerate(drawn):
            one = network_of(method, lanes=4).lane_view(lane, lane + 1)
            one.set_adv_lambda(level)
            clean = one(images)[0]
            adv = one(attacked_by_hand(one, images, labels[lane : lane + 1]))[0]
            expected = (1 - level) * F.cross_entropy(clean, labels[lane]) + level * F.cross_entropy(adv, labels[lane])
            torch.testing.assert_close(loss[lane], expected)
            counts = {int(norm.num_batches_tracked[lane]) for norm in network.batch_norms()[::2]}
            assert counts == ({1} if level == 0 else {0})
            found[level] = True
    assert found.keys() == {0.0, 0.4}


def test_costs_of_a_step():
    """Seven attack passes without gradients of the weights, a clean and an attacked pass."""
    assert method_of(DAT).training_load(1.0)[0][1] == pytest.approx(8 * (2 + 7 * 2 / 3))
    assert method_of(FedAvg(adv_lambda=1.0)).training_load(1.0)[0][1] == pytest.approx(1 + 7 * 2 / 3)
    assert method_of(FedAvg()).training_load(1.0)[0][1] == 1


def test_what_the_paper_does_not_do_is_noted():
    assert method_of(DAT).notes == []
    notes = " ".join(method_of(SplitMix(adv_lambda=0.5), bn="batch").notes)
    assert "model.bn=batch" in notes and "algorithm.rescale_init=true algorithm.rescale_layer=true" in notes
    assert method_of(SplitMix(), bn="batch").notes == []
    assert "model.bn=batch" in " ".join(method_of(FedAvgOAT(), bn="batch").notes)


@pytest.mark.parametrize(
    ("algorithm", "settings", "words"),
    [
        (SplitMix(adv_lambda=1.5), {}, "algorithm.adv_lambda=1.5: give a weight from 0"),
        (FedAvg(adv_lambda=-0.1), {}, "algorithm.adv_lambda=-0.1"),
        (SplitMix(adv_lambda=0.5, loss_temperature="auto"), {}, "algorithm.loss_temperature=auto: is for plain"),
        (SplitMix(adv_lambda=0.5), {"attack": NoAttack()}, "train_attack=none: algorithm.adv_lambda=0.5 trains on"),
        (FedAvgOAT(), {"attack": NoAttack()}, "train_attack=none: algorithm=fedavg_oat"),
        (FedAvgOAT(lambdas=(0.5,)), {}, r"algorithm.lambdas=\[0.5\]: give values from 0 to 1, 0 among them"),
        (FedAvgOAT(width=0.0), {}, "algorithm.width=0: give a width above 0"),
    ],
)
def test_bad_values_are_named(algorithm, settings, words):
    with pytest.raises(UserError, match=words):
        method_of(algorithm, **settings)


def test_a_level_that_cannot_be_chosen_is_refused():
    check_adv_lambda(method_of(DAT), 0.7)
    check_adv_lambda(method_of(FedAvgOAT()), 0.7)
    for method, level, words in (
        (method_of(DAT), 1.2, "adv_lambda=1.2: give a value from 0 to 1"),
        (method_of(FedAvg(adv_lambda=0.5)), 0.5, "trained without dual batch normalisation, only 0 is possible"),
    ):
        with pytest.raises(UserError, match=words):
            check_adv_lambda(method, level)


def test_labels_say_how_a_method_was_trained():
    algorithms = (SplitMix(), DAT, SplitMix(adv_lambda=1), FedAvg(), FedAvg(adv_lambda=0.5), FedAvgOAT())
    assert [algorithm.label for algorithm in algorithms] == [
        "Split-Mix", "Split-Mix+DAT", "Split-Mix+AT (λ=1)", "FedAvg", "FedAvg+AT (λ=0.5)", "FedAvg+OAT"
    ]  # fmt: skip


def test_attacks_of_a_lane_start_where_its_own_stream_says():
    """The same stream, the same attacked images, whatever the lane stands beside."""
    method = method_of(DAT, attack=LinfPGD())
    images, labels = batch(lanes=2)
    losses = method.objective(network_of(method, 2), LaneBatch(images, labels, [rng(5), rng(6)])).loss
    one = network_of(method, 2).lane_view(1, 2)
    alone = method.objective(one, LaneBatch(images, labels[1:], [rng(6)])).loss
    np.testing.assert_allclose(losses[1].item(), alone.item(), rtol=1e-9)


def test_oat_by_image_is_two_batches_of_their_own():
    """Half of the images at lambda 0, half at 0.5: every branch sees its half, and only the second is attacked."""
    method = method_of(FedAvgOAT(0.125, lambdas=(0.0, 0.5), draw="image"))
    ours, by_hand = network_of(method), network_of(method)
    images, labels = batch()
    objective = method.objective(ours, LaneBatch(images, labels, [rng(0)]))
    objective.loss.sum().backward()
    losses = []
    for level, rows in ((0.0, slice(3)), (0.5, slice(3, None))):
        by_hand.set_adv_lambda(level)
        losses.append((1 - level) * F.cross_entropy(by_hand(images[rows])[0], labels[0, rows], reduction="sum"))
    attacked = attacked_by_hand(by_hand, images[3:], labels[:, 3:])
    losses.append(0.5 * F.cross_entropy(by_hand(attacked)[0], labels[0, 3:], reduction="sum"))
    loss = sum(losses) / 6
    loss.backward()
    torch.testing.assert_close(objective.loss[0], loss)
    for (name, value), other in zip(ours.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(value.grad, other.grad, msg=name)
    for (name, value), other in zip(ours.named_buffers(), by_hand.buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=name)


def test_oat_by_image_in_packed_lanes_is_one_lane_at_a_time():
    method = method_of(FedAvgOAT(0.125, draw="image"))
    images, labels = batch(lanes=3, n=8)
    together = network_of(method, lanes=3)
    objective = method.objective(together, LaneBatch(images, labels, [rng(lane) for lane in range(3)]))
    for lane in range(3):
        one = network_of(method, lanes=1)
        one.load_lanes({name: value[lane : lane + 1] for name, value in network_of(method, 3).lane_tensors().items()})
        alone = method.objective(one, LaneBatch(images, labels[lane : lane + 1], [rng(lane)]))
        torch.testing.assert_close(objective.loss[lane], alone.loss[0])


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_oat_by_image_learns_from_small_batches_too(n):
    method = method_of(FedAvgOAT(0.125, draw="image"))
    images, labels = batch(n=n)
    objective = method.objective(network_of(method), LaneBatch(images, labels, [rng(0)]))
    assert objective.loss.isfinite().all()


def test_a_draw_of_another_kind_is_refused():
    with pytest.raises(UserError, match=r"algorithm\.draw=client: choose batch or image"):
        method_of(FedAvgOAT(draw="client"))
