"""PGD that stops at fooled images: whom it fools, and what it leaves undone."""

import pytest
import torch

from splitmix.errors import UserError
from splitmix.randomness import rng
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws
from splitmix.robustness.early_stop import LinfPGDStop


@pytest.fixture
def problem():
    """A small network, and images of which it gets three in four right."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 32), torch.nn.ReLU(), torch.nn.Linear(32, 5))
    for value in model.parameters():
        torch.nn.init.normal_(value)
    images = torch.rand(40, 3, 4, 4)
    labels = model(images).argmax(-1)
    labels[::4] = (labels[::4] + 1) % 5
    return model, images, labels


@pytest.mark.parametrize("random_start", [True, False])
def test_an_image_is_fooled_if_the_start_or_any_step_of_pgd_fools_it(problem, random_start):
    model, images, labels = problem
    sizes, points = [], []

    def counted(x):
        sizes.append(len(x))
        return model(x)

    def noted(x):
        points.append(x.detach())
        return model(x)

    settings = {"eps": 12.0, "steps": 6, "step_size": 4.0, "random_start": random_start}
    last = LinfPGD(**settings).perturb(noted, images, labels, Draws([rng(0)], [40]))
    ever = torch.stack([model(x).argmax(-1) != labels for x in [*points, last]]).any(0)
    stopped = LinfPGDStop(**settings).perturb(counted, images, labels, Draws([rng(0)], [40]))
    fooled = model(stopped).argmax(-1) != labels
    assert torch.equal(fooled, ever) and 10 < fooled.sum() < 40
    assert not ((model(last).argmax(-1) != labels) & ~fooled).any()
    assert (stopped - images).abs().max() <= 12 / 255 + 1e-6 and stopped.min() >= 0 and stopped.max() <= 1
    # Images that are left go on, as PGD does; those that are fooled are looked at no more.
    torch.testing.assert_close(stopped[~fooled], last[~fooled])
    assert sizes[0] == 40 and sizes[-1] < 30 and sizes == sorted(sizes, reverse=True) and len(sizes) == 6


def test_where_all_are_fooled_no_step_is_left(problem):
    model, images, _ = problem
    calls = []
    attack = LinfPGDStop(8.0, random_start=False)
    wrong = (model(images).argmax(-1) + 1) % 5
    stopped = attack.perturb(lambda x: calls.append(1) or model(x), images, wrong, Draws([], []))
    assert torch.equal(stopped, images) and len(calls) == 1


def test_it_is_refused_where_predictions_depend_on_the_batch(federation):
    fed = federation()
    with pytest.raises(UserError, match=r"attack=linf_pgd_stop: picks images out of a batch.*test\.bn=post"):
        fed.test(fed.initial_state(), [0.125], attack=LinfPGDStop())
