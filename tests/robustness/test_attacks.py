"""Attacks: within their norms, as METHOD's formula says, against exactly the model under test, seeded."""

import pytest
import torch
import torch.nn.functional as F

from splitmix.algorithms.base import Problem
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.models.digit_cnn import DigitCNN
from splitmix.randomness import rng, torch_rng
from splitmix.robustness.advertorch_import import advertorch_attacks
from splitmix.robustness.attacks import FGSM, L2PGD, MIM, LinfPGD, NoAttack
from splitmix.robustness.draws import Draws
from splitmix.robustness.lanes import attack_lanes

NONE = Draws([], [])


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
    attacked = attack.perturb(model, images, labels, Draws([rng(0)], [6]))
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
    torch.testing.assert_close(LinfPGD(eps, steps, random_start=False).perturb(model, images, labels, NONE), attacked)


def test_l2_pgd_starts_where_advertorch_does(model, batch):
    """From equal draws its own random start is ours; that of the ball is not uniform, and is not said to be."""
    images, labels = batch
    draws = Draws([rng(0)], [6])
    uniform = Draws([rng(0)], [6]).uniform(images)

    class Drawn(torch.Tensor):
        def uniform_(self, low, high):
            return self.copy_(low + (high - low) * uniform)

    delta = torch.zeros_like(images).as_subclass(Drawn)
    init = advertorch_attacks().iterative_projected_gradient.rand_init_delta
    theirs = images + init(delta, images, 2, 128 / 255, 0.0, 1.0).as_subclass(torch.Tensor)
    still = L2PGD(128.0, steps=1, step_size=1e-6).perturb(model, images, labels, draws)
    torch.testing.assert_close(still, theirs, atol=1e-5, rtol=0)
    assert (theirs - images).flatten(1).norm(dim=1).tolist() == pytest.approx([128 / 255] * 6, rel=1e-4)


@pytest.mark.slow
def test_an_attack_runs_against_exactly_the_customised_model_under_test(federation):
    """Attacked by hand against `customize`, client by client: the same accuracies, width by width."""
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
                model = customize(fed.method, state, width)
                right = (model(attack.perturb(model, images, labels, NONE)).argmax(-1) == labels).double().mean()
                assert right == found.per_client[number, column]


@pytest.mark.parametrize("bn", ["batch", "local"])
@pytest.mark.slow
def test_the_same_draws_on_every_path(federation, bn):
    accuracies = []
    for engine in (EngineSettings(lanes=4, workers=1, threads=1), EngineSettings(lanes=4, workers=2)):
        fed = federation(SplitMix(), DigitCNN(bn=bn), engine=engine)
        state = fed.initial_state()
        accuracies.append(
            fed.test(state, [0.25], bn="post" if bn == "local" else "trained", attack=LinfPGD(32.0)).per_client
        )
        before = torch.random.get_rng_state()
        fed.test(state, [0.25], max_images=8, attack=LinfPGD(32.0))
        assert torch.equal(before, torch.random.get_rng_state())
        fed.engine.close()
    assert torch.equal(*accuracies)


def test_no_attack_returns_the_images(model, batch):
    assert torch.equal(NoAttack().perturb(model, *batch, NONE), batch[0])


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
        attack.check(f"attack.{attack.name}")
    assert words in str(caught.value)


def test_images_outside_the_pixel_range_are_refused(model, batch):
    for images in (2 * batch[0], batch[0] - 0.5):
        with pytest.raises(UserError, match=r"images from .* to .*: attacks need pixels in \[0, 1\]"):
            FGSM().perturb(model, images, batch[1], NONE)


@pytest.mark.parametrize("attack", [LinfPGD(), L2PGD(steps=3), MIM(steps=3), FGSM()])
@pytest.mark.parametrize("shared", [True, False])
def test_lanes_are_attacked_as_if_each_were_alone(attack, shared):
    """One call perturbs all lanes; norms, gradients and draws of one do not see the others."""
    method = SplitMix(adv_lambda=0.5).bind(DigitCNN(bn="tracked"), Problem((3, 8, 8), 10, (1.0,)))
    network = method.spec.build(3).double().train()
    network.reset_parameters(torch_rng(0, "test"))
    network.set_adv_lambda(1.0)
    images = torch.rand(5, 3 if shared else 9, 8, 8, dtype=torch.float64)
    labels = torch.randint(0, 10, (3, 5))
    together = attack_lanes(network, images, labels, attack, [rng(lane) for lane in range(3)])
    assert network.training and together.shape == (5, 9, 8, 8)
    for lane in range(3):
        one = network.lane_view(lane, lane + 1)
        own = images if shared else images[:, 3 * lane : 3 * lane + 3]
        alone = attack_lanes(one, own, labels[lane : lane + 1], attack, [rng(lane)])
        torch.testing.assert_close(together[:, 3 * lane : 3 * lane + 3], alone)


@pytest.mark.slow
def test_an_attack_made_for_another_level_is_weaker(federation):
    """Images attacked against the model of one lambda raise its loss more than those made for another lambda do."""
    fed = federation(SplitMix(adv_lambda=0.5), DigitCNN(bn="tracked"), train_attack=LinfPGD(64.0))
    state, _ = fed.run_round(fed.initial_state())
    generator = torch.Generator().manual_seed(0)
    for name, value in state.tensors.items():  # branches far apart, as after long training
        if "adv.weight" in name or "adv.bias" in name:
            value += 0.5 * torch.randn(value.shape, generator=generator)
    images, labels = fed.dataset.test.images / 255, fed.dataset.test.labels
    attack = LinfPGD(8.0, random_start=False)
    models = {level: customize(fed.method, state, 0.5, level) for level in (0.0, 0.5, 1.0)}
    loss = {
        (made, used): F.cross_entropy(model(attack.perturb(models[made], images, labels, NONE)), labels).item()
        for made in models
        for used, model in models.items()
    }
    for level in models:
        assert all(loss[level, level] > loss[other, level] for other in models if other != level)
    found = fed.test(state, [0.5], adv_lambda=0.5, attack=attack, batch_size=64)
    by_hand = models[0.5](attack.perturb(models[0.5], images, labels, NONE)).argmax(-1) == labels
    own = [by_hand[client.test].double().mean() for client in fed.clients]
    torch.testing.assert_close(found.per_client[:, 0], torch.stack(own))


@pytest.mark.parametrize("bn", ["tracked", "local"])
def test_levels_are_evaluated_as_customized_models(federation, bn):
    """Clean accuracy at every level, of every client, is that of `customize`; local statistics are the client's own."""
    fed = federation(SplitMix(adv_lambda=0.5), DigitCNN(bn=bn), train_attack=FGSM(64.0))
    state, _ = fed.run_round(fed.initial_state())
    for level in (0.0, 0.3, 1.0):
        found = fed.test(state, [0.25, 1.0], adv_lambda=level).per_client
        for number, client in enumerate(fed.clients):
            for column, width in enumerate((0.25, 1.0)):
                model = customize(fed.method, state, width, level, client=number if bn == "local" else None)
                right = model(fed.dataset.test.images[client.test] / 255).argmax(-1)
                assert (right == fed.dataset.test.labels[client.test]).double().mean() == found[number, column]
