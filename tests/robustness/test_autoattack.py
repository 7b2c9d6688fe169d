"""AutoAttack and Square: their package, their ball, their seed; refused where it is missing or cannot be used."""

import pytest
import torch

from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.models.digit_cnn import DigitCNN
from splitmix.randomness import rng
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.autoattack import AutoAttack, Square
from splitmix.robustness.draws import Draws


@pytest.fixture(params=[3, 5])
def problem(request):
    """A linear classifier of a few classes, and images that it gets right."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, request.param))
    images = torch.rand(8, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    return model, images, model(images).argmax(1)


@pytest.mark.parametrize("attack", [Square(eps=32.0, steps=300), AutoAttack(eps=4.0)])
@pytest.mark.slow
def test_stays_in_the_ball_is_seeded_and_fools_at_least_as_many_as_pgd(problem, attack):
    model, images, labels = problem
    before = torch.random.get_rng_state()
    first, second = (attack.perturb(model, images, labels, Draws([rng(1)], [8])) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, second) and not first.requires_grad
    assert (first - images).abs().max() <= attack.eps / 255 + 1e-6 and first.min() >= 0 and first.max() <= 1
    wrong = (model(first).argmax(1) != labels).sum()
    assert wrong > 0
    if attack.name == "autoattack":
        pgd = LinfPGD(attack.eps, random_start=False).perturb(model, images, labels, Draws([], []))
        assert wrong >= (model(pgd).argmax(1) != labels).sum()


def test_a_run_whose_predictions_depend_on_the_batch_is_refused_unless_statistics_are_fixed(federation):
    fed = federation()
    state = fed.initial_state()
    with pytest.raises(UserError, match=r"attack=square: picks images out of a batch.*test\.bn=post"):
        fed.test(state, [0.125], attack=Square(steps=2))
    assert fed.test(state, [0.125], attack=Square(steps=2), bn="post", max_images=8).n_images == 8
    tracked = federation(SplitMix(), DigitCNN(bn="tracked"))
    assert tracked.test(tracked.initial_state(), [0.125], attack=Square(steps=2)).n_images == 44


def test_a_missing_package_names_the_extra(monkeypatch):
    def missing(name, *arguments):
        raise ImportError(name)

    monkeypatch.setattr("splitmix.robustness.autoattack.importlib.import_module", missing)
    with pytest.raises(UserError, match=r"attack\.autoattack: needs .* pip install 'splitmix\[autoattack\]'"):
        AutoAttack().check("attack.autoattack")


@pytest.mark.parametrize(("attack", "words"), [(AutoAttack(0.0), "a.eps=0"), (Square(steps=0), "a.steps=0")])
def test_bad_values_are_named(attack, words):
    with pytest.raises(UserError, match=words):
        attack.check("a")
