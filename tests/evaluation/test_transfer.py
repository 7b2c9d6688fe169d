"""Attacks made at one width and level, tested at another: against the same done by hand."""

import pytest
import torch

from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.federation.transferred import transferred
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.autoattack import Square
from splitmix.robustness.draws import Draws

ATTACK = LinfPGD(48.0, steps=2, random_start=False)


@pytest.fixture
def trained(federation):
    """A federation after one round."""

    def make(*components, **settings):
        fed = federation(*components, train_attack=LinfPGD(64.0, steps=1), **settings)
        return fed, fed.run_round(fed.initial_state())[0]

    return make


def by_hand(fed, state, places):
    """Share of right predictions `[clients, sources, targets]`, and of images that every source leaves right."""
    models = [customize(fed.method, state, width, level) for width, level in places]
    right, held = [], []
    for client in fed.clients:
        images, labels = fed.dataset.test.images[client.test] / 255, fed.dataset.test.labels[client.test]
        attacked = [ATTACK.perturb(model, images, labels, Draws([], [])) for model in models]
        hits = torch.stack([torch.stack([model(a).argmax(-1) == labels for model in models]) for a in attacked])
        right.append(hits.double().mean(-1))
        held.append(hits.all(0).double().mean(-1))
    return torch.stack(right), torch.stack(held)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "levels"), [(SplitMix(adv_lambda=0.5), (0.0, 1.0)), (SplitMix(), (0.0,)), (HeteroFL(), (0.0,))]
)
def test_every_pair_as_by_hand(trained, algorithm, levels):
    fed, state = trained(algorithm)
    told = []
    found = transferred(fed, state, (0.25, 1.0), levels, ATTACK, progress=lambda *counts: told.append(counts))
    assert found.places == tuple((width, level) for level in levels for width in (0.25, 1.0))
    right, held = by_hand(fed, state, found.places)
    torch.testing.assert_close(found.per_client, right)
    torch.testing.assert_close(found.worst, held)
    assert found.n_images == 44 and told[-1] == (4, 4)
    # A target under its own attack is the ordinary test; no image is right under all attacks and wrong under one.
    for column, (width, level) in enumerate(found.places):
        own = fed.test(state, [width], adv_lambda=level, attack=ATTACK, batch_size=128).per_client[:, 0]
        torch.testing.assert_close(found.per_client[:, column, column], own)
        assert (found.worst[:, column] <= found.per_client[:, :, column].min(1).values + 1e-9).all()
    assert found.mean()[1.0, levels[0]][0.25, levels[0]] == pytest.approx(right[:, 0, 1].mean().item())
    assert not torch.equal(right[:, 0], right[:, 1]), "else the direction of the matrix is not tested"


@pytest.mark.slow
def test_statistics_and_draws_are_those_of_the_ordinary_test_on_every_path(federation):
    attack, places = LinfPGD(48.0, steps=1), ((0.25, 0.0), (0.25, 1.0))
    found = []
    for engine in (EngineSettings(lanes=4, workers=1, threads=1), EngineSettings(lanes=4, workers=2)):
        with federation(SplitMix(adv_lambda=0.5), engine=engine) as fed:
            state = fed.initial_state()
            found.append(transferred(fed, state, [0.25], (0.0, 1.0), attack, bn="static", max_images=16))
            for column, (width, level) in enumerate(places):
                own = fed.test(state, [width], adv_lambda=level, attack=attack, bn="static", max_images=16)
                torch.testing.assert_close(found[-1].per_client[:, column, column], own.per_client[:, 0])
    assert torch.equal(found[0].per_client, found[1].per_client) and torch.equal(found[0].worst, found[1].worst)


def test_what_the_ordinary_test_refuses(federation):
    fed = federation()
    for levels, attack, words in (
        ((0.5,), ATTACK, "test.adv_lambdas|adv_lambda=0.5"),
        ((0.0,), Square(), "attack=square: picks images out of a batch"),
    ):
        with pytest.raises(UserError, match=words):
            transferred(fed, fed.initial_state(), [0.125], levels, attack)
