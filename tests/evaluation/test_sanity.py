"""Checks for masked gradients: by hand, and on a model whose gradients are masked."""

from dataclasses import replace

import pytest

from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import ImageSet
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.evaluation.sanity import checks
from splitmix.federation.federation import Federation
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import L2PGD, LinfPGD
from splitmix.runs import sanity
from splitmix.runs.records import records_of
from splitmix.test_settings import TestSettings

SOUND = {
    "eps": [8.0, 16.0, 32.0],
    "accuracy": [0.4, 0.1, 0.05],
    "loss": [1.0, 2.0, 3.0],
    "more_steps": 35,
    "accuracy_more_steps": 0.37,
    "restarts": 5,
    "accuracy_restarts": 0.37,
    "black_box": {"square": 0.45, "made at ×0.5": 0.39},
}


def failed(**changes):
    return [check.name for check in checks({**SOUND, **changes}) if not check.passed]


def test_each_sign_by_hand():
    assert failed() == []
    assert failed(black_box={"square": 0.45, "made at ×0.5": 0.389}) == ["black box is not stronger"]
    assert failed(accuracy=[0.4, 0.1, 0.051]) == ["RA falls to 0 as ε grows"]
    assert failed(loss=[1.0, 1.0, 3.0]) == ["loss rises with ε"]
    assert failed(accuracy_more_steps=0.369) == ["more steps do not help much"]
    assert failed(accuracy_restarts=0.369) == ["restarts do not help much"]
    assert checks(SOUND)[0].measured == "RA 40.0 %, made at ×0.5 39.0 %"


@pytest.fixture
def known(dataset):
    """A federation of untrained models, and its state, with the test labels that the model of width 0.5 predicts
    about."""

    def make(dataset):
        engine = EngineSettings(lanes=4, workers=1, threads=1)
        return Federation(dataset, SplitMix(), DigitCNN(), engine=engine, clients_per_domain=2, batch_size=8)

    fed = make(dataset)
    state = fed.initial_state()
    model = customize(fed.method, state, 0.5, calibration=dataset.train.images)
    labels = model(dataset.test.images / 255).argmax(-1)
    test = ImageSet(dataset.test.images, labels, dataset.test.counts)
    return make(replace(dataset, test=test)), state


@pytest.mark.slow
def test_a_model_whose_logits_saturate_is_found_out(known, monkeypatch):
    """Logits so large that the softmax is exactly 0 and 1 give no gradients: the plainest way to mask them."""
    monkeypatch.setattr(sanity, "find_spec", lambda name: None)
    fed, state = known
    attack, told, test = LinfPGD(12.0, steps=4), [], TestSettings(bn="static", sanity=True)

    def recorded(state):
        return records_of(fed, state, test, [0.5, 0.125], 0.0, "best", "", "linf_pgd", attack)

    found = sanity.measure_sanity(fed, state, test, recorded(state), 0.0, attack, told.append)
    wide = found[0.5]
    assert wide["eps"] == [12, 24, 48, 96, 192] and wide["more_steps"] == 20
    assert len(told) == 7 and told[0] == "ε 24", "the attack itself is in the record"
    predicted = fed.test(state, [0.5], attack=attack, bn="static", predictions=True).predictions[0.5]
    assert wide["loss"][0] == pytest.approx(float(predicted.loss.mean()))
    assert wide["accuracy"] == [
        pytest.approx(fed.test(state, [0.5], attack=attack.scaled(factor), bn="static").mean()[0.5])
        for factor in sanity.LADDER
    ]
    assert list(wide["black_box"]) == ["made at ×0.125"] and wide["accuracy_restarts"] <= wide["accuracy"][0]
    assert {check.name for check in checks(wide) if not check.passed} <= {"more steps do not help much"}
    weight = state.tensors["fc3.weight"] * 1e6
    masked = replace(state, tensors={**state.tensors, "fc3.weight": weight})
    found = sanity.measure_sanity(fed, masked, test, recorded(masked), 0.0, attack, told.append)
    assert {"RA falls to 0 as ε grows", "black box is not stronger"} & {
        check.name for check in checks(found[0.5]) if not check.passed
    }


def test_a_single_width_needs_the_square_attack(known):
    fed, state = known
    records = [{"width": 0.5, "accuracy": 0.5, "loss": 1.0}]
    with pytest.raises(UserError, match=r"test\.sanity=true: needs an attack without the model's gradients"):
        sanity.measure_sanity(fed, state, TestSettings(), records, 0.0, L2PGD(), print)
