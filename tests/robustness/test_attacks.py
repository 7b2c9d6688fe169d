"""Attacks: within their norms, as METHOD's formula says, against exactly the model under test, seeded."""

import pytest
import torch
import torch.nn.functional as F

from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.federation.engine_settings import EngineSettings
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import FGSM, L2PGD, MIM, LinfPGD, NoAttack


@pytest.fixture
def model():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    torch.manual_seed(0)
    for value in network.parameters():
        torch.nn.init.normal_(value)
    return network


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 3, 4, 4, generator=generator), torch.randint(0, 10, (6,), generator=generator)


@pytest.mark.parametrize("attack", [LinfPGD(), LinfPGD(4.0, 20), MIM(), FGSM(), L2PGD(), L2PGD(64.0, 5)])
def test_attacks_stay_in_their_ball_and_raise_the_loss(model, batch, attack):
    images, labels = batch
    attacked = attack.perturb(model, images, labels)
    change = (attacked - images).flatten(1)
    size = change.norm(dim=1) if isinstance(attack, L2PGD) else change.abs().amax(1)
    assert (size <= attack.eps / 255 + 1e-6).all() and size.max() > 0.5 * attack.eps / 255
    assert attacked.min() >= 0 and attacked.max() <= 1 and not attacked.requires_grad
    assert F.cross_entropy(model(attacked), labels) > F.cross_entropy(model(images), labels)


@pytest.mark.parametrize(("eps", "steps"), [(8.0, 7), (32.0, 3)])
def test_pgd_is_the_papers(model, batch, eps, steps):
    """METHOD: steps of min(1.25 eps, eps + 4/255) / 7 along the sign, clipped to the ball, then to [0, 1]."""
    images, labels = batch
    attacked = images.clone()
    size = min(1.25 * eps / 255, eps / 255 + 4 / 255) / steps
    for _ in range(steps):
        attacked.requires_grad_()
        loss = F.cross_entropy(model(attacked), labels, reduction="sum")
        [gradient] = torch.autograd.grad(loss, attacked)
        moved = (attacked + size * gradient.sign()).detach()
        attacked = (images + (moved - images).clamp(-eps / 255, eps / 255)).clamp(0, 1)
    torch.testing.assert_close(LinfPGD(eps, steps, random_start=False).perturb(model, images, labels), attacked)


def test_an_attack_runs_against_exactly_the_customised_model_under_test(federation):
    """Attacked by hand against `customize(state, width)`, client by client: the same accuracies, width by width."""
    attack = LinfPGD(64.0, random_start=False)
    for algorithm in (SplitMix(), HeteroFL()):
        fed = federation(algorithm)
        state, _ = fed.run_round(fed.initial_state())
        found = fed.test(state, [0.25, 1.0], batch_size=128, attack=attack)
        clean = fed.test(state, [0.25, 1.0], batch_size=128)
        assert found.n_images == clean.n_images and (found.per_client <= clean.per_client).all()
        assert found.per_client.mean() < clean.per_client.mean()
        for number, client in enumerate(fed.clients):
            images = fed.dataset.test.images[client.test] / 255
            labels = fed.dataset.test.labels[client.test]
            for column, width in enumerate((0.25, 1.0)):
                model = customize(state, width)
                right = (model(attack.perturb(model, images, labels)).argmax(-1) == labels).double().mean()
                assert right == found.per_client[number, column]


@pytest.mark.parametrize("bn", ["batch", "local"])
def test_the_same_draws_on_every_path(federation, bn):
    accuracies = []
    for engine in (EngineSettings(lanes=4, workers=1), EngineSettings(lanes=4, workers=2)):
        fed = federation(SplitMix(), DigitCNN(bn=bn), engine=engine)
        state = fed.initial_state()
        accuracies.append(fed.test(state, [0.25], post=bn == "local", attack=LinfPGD(32.0)).per_client)
        before = torch.random.get_rng_state()
        fed.test(state, [0.25], max_images=8, attack=LinfPGD(32.0))
        assert torch.equal(before, torch.random.get_rng_state())
        fed.engine.close()
    assert torch.equal(*accuracies)


def test_no_attack_returns_the_images(model, batch):
    assert NoAttack().perturb(model, *batch) is batch[0]


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (LinfPGD(0.0), "attack.linf_pgd.eps=0: give a size in 1/255"),
        (FGSM(256.0), "attack.fgsm.eps=256: give a size in 1/255 of the pixel range, above 0 and up to 255"),
        (MIM(-1.0), "attack.mim.eps=-1"),
        (L2PGD(steps=0), "attack.l2_pgd.steps=0: give at least 1"),
        (LinfPGD(step_size=0.0), "attack.linf_pgd.step_size=0"),
    ],
)
def test_bad_values_are_named(attack, words):
    with pytest.raises(UserError) as caught:
        attack.check()
    assert words in str(caught.value)
