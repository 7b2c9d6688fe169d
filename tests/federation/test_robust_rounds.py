"""Adversarially trained federations: validation of RA, the best round, local norms, equivalences."""

import pytest
import torch

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedavg_oat import FedAvgOAT
from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.federation.budgets import Groups
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import FGSM, LinfPGD

TRACKED = DigitCNN(bn="tracked")
DAT = SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.4)


@pytest.mark.slow
def test_robust_validation_attacks_the_robust_branch(federation):
    """RA of validation is that of `customize` at lambda 1, attacked by hand, on the first images of every client."""
    from splitmix.evaluation.customize import customize
    from splitmix.robustness.draws import Draws

    attack = LinfPGD(16.0, random_start=False)
    fed = federation(DAT, TRACKED, train_attack=attack)
    state, _ = fed.run_round(fed.initial_state())
    found = fed.validate_robust(state, [0.5], max_images=20)
    assert found.n_images == 20
    model = customize(fed.method, state, 0.5, 1.0)
    for number, client in enumerate(fed.clients):
        images, labels = (part[client.val[:5]] for part in (fed.dataset.train.images / 255, fed.dataset.train.labels))
        attacked = attack.perturb(model, images, labels, Draws([], []))
        assert found.per_client[number, 0] == (model(attacked).argmax(-1) == labels).double().mean()


@pytest.mark.parametrize(
    ("algorithm", "weight"),
    [(DAT, 0.4), (SplitMix(), 0.0), (FedAvg(0.5, adv_lambda=0.5), 0.0), (FedAvgOAT(0.5), 0.5)],
)
def test_the_best_round_weighs_ra_only_after_dual_norms(federation, algorithm, weight):
    assert federation(algorithm, TRACKED, budget=Groups("2")).method.ra_weight == weight


@pytest.mark.slow
def test_full_width_dat_with_equal_branches_trains_like_fedavg_at(federation):
    """One full-width base model without dual norms is FedAvg + AT: lambda 1."""
    states = []
    for algorithm in (SplitMix(1.0, rescale_init=False, rescale_layer=False, adv_lambda=1.0), FedAvg(adv_lambda=1.0)):
        fed = federation(algorithm, TRACKED, budget=Groups("1"), train_attack=FGSM())
        states.append(fed.run_round(fed.initial_state())[0].tensors)
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-4)


def test_local_norms_keep_both_branches_with_the_client(federation):
    fed = federation(DAT, DigitCNN(bn="local"), train_attack=FGSM())
    start = fed.initial_state()
    state, metrics = fed.run_round(start)
    assert {name.split(".")[1] for name in state.clients if name.startswith("bn1")} == {"clean", "adv"}
    assert all(torch.equal(state.tensors[name], start.tensors[name]) for name in state.clients)
    trained = state.clients["bn1.adv.running_mean"] != start.clients["bn1.adv.running_mean"]
    assert trained.any() and not trained.flatten(1).all()
    assert metrics.bytes_up == 4 * sum(fed.method.upload_entries(budget) for budget in fed.budgets)


class Recorded(LinfPGD):
    """Notes the attacked images, one value per image, of batches that lanes share or not."""

    def attacked(self, model, images, labels, draws):
        attacked = super().attacked(model, images, labels, draws)
        noted.extend(attacked.unflatten(1, (-1, 3)).sum((2, 3, 4)).flatten().tolist())
        return attacked


noted: list[float] = []


@pytest.mark.slow
def test_the_same_attacked_images_in_packs_of_any_size(federation):
    """Random starts come from the client's and the base model's own stream, whatever lanes stand beside it."""
    sums = []
    for lanes in (1, 3):
        engine = EngineSettings(lanes=lanes, workers=1, threads=1, precision="64-true")
        fed = federation(DAT, TRACKED, engine=engine, train_attack=Recorded(16.0, steps=1))
        noted.clear()
        fed.run_round(fed.initial_state())
        sums.append(sorted(noted))
    assert len(sums[0]) > 100 and sums[0] == pytest.approx(sums[1], rel=1e-9)


@pytest.mark.slow
def test_the_same_attacked_images_on_every_path(federation):
    """In float64, where no pixel's gradient changes its sign by rounding: other random starts would be other models."""
    states = []
    for lanes, workers in ((1, 1), (3, 2)):
        engine = EngineSettings(lanes=lanes, workers=workers, threads=1, precision="64-true")
        fed = federation(DAT, TRACKED, engine=engine)
        states.append(fed.run_round(fed.initial_state())[0].tensors)
        before = torch.random.get_rng_state()
        fed.validate_robust(fed.initial_state(), [0.25])
        assert torch.equal(before, torch.random.get_rng_state())
        fed.engine.close()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.slow  # Lightning takes seconds to import
def test_the_switch_of_the_client_module_mixes_the_branches(federation):
    from splitmix.federation.client import ClientModule

    fed = federation(DAT, TRACKED)
    network = fed.method.spec.build(8)
    network.load_lanes(fed.run_round(fed.initial_state())[0].tensors)
    module = ClientModule(fed.method, network, SGD()).eval()
    images = torch.rand(4, 3, 8, 8)
    outputs = []
    for level in (0.0, 0.5, 1.0):
        module.set_adv_lambda(level)
        network.set_adv_lambda(level)
        outputs.append(module(images))
        torch.testing.assert_close(outputs[-1], network(images).mean(0))
    assert not torch.equal(outputs[0], outputs[2])
