"""Early exit by hand, and in test records against the model that a user stops with `until`."""

import pytest
import torch

from splitmix.algorithms.heterofl import HeteroFL
from splitmix.errors import UserError
from splitmix.evaluation.cost import cost
from splitmix.evaluation.customize import customize
from splitmix.evaluation.early_exit import CONFIDENCES, early_exit
from splitmix.evaluation.predictions import Predictions
from splitmix.federation.deployed import fixed_accuracy
from splitmix.models.digit_cnn import DigitCNN
from splitmix.runs.records import records_of
from splitmix.test_settings import TestSettings


def of(confidence, predicted):
    """Three images, two of the first client: labels 0, 1, 2."""
    clients, labels = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])
    confidence = torch.tensor(confidence, dtype=torch.float64)
    classes = torch.tensor(predicted)
    return Predictions(clients, labels, classes, classes, confidence, torch.zeros(3))


def test_by_hand():
    mixes = {
        0.5: of([0.65, 0.45, 0.35], [0, 0, 0]),
        0.25: of([0.95, 0.55, 0.25], [0, 1, 1]),
        0.75: of([0.55, 0.45, 0.35], [1, 1, 2]),
    }
    curve = early_exit(mixes, 10.0)
    found = {until: pair for until, *pair in zip(curve.until, curve.accuracy, curve.base_models, strict=True)}
    assert found[0.2] == [0.5, 1.0]  # everyone leaves at once: the first client is right twice, the second never
    assert found[0.3] == [0.5, pytest.approx(4 / 3)]
    assert found[0.4] == [1.0, pytest.approx(5 / 3)]  # the third image goes on to the end and is right there
    assert found[0.6] == [1.0, pytest.approx(7 / 3)]
    assert found[1.0] == [0.75, 3.0]
    assert curve.macs == [10 * count for count in curve.base_models] and curve.until == list(CONFIDENCES)


@pytest.mark.slow
@pytest.mark.parametrize("bn", ["batch", "tracked"])
def test_records_say_what_stopping_gives(federation, bn):
    fed = federation(None, DigitCNN(bn=bn))
    state, _ = fed.run_round(fed.initial_state())
    narrow, wide = records_of(fed, state, TestSettings(anytime=True), [0.125, 0.5], 0.0, "best", "")
    curve = wide["anytime"]
    assert "anytime" not in narrow and curve["until"] == list(CONFIDENCES)
    calibration = None if bn == "tracked" else fed.calibration_images()
    rows = [client.test for client in fed.clients]
    images, labels = (getattr(fed.dataset.test, name)[torch.cat(rows)] for name in ("images", "labels"))
    models = [customize(fed.method, state, width, calibration=calibration) for width in (0.125, 0.25, 0.375, 0.5)]
    answers = torch.stack([model(images / 255).softmax(-1) for model in models])
    for until, accuracy, count, macs in zip(*curve.values(), strict=True):
        first = [next((n for n in range(3) if answers[n, i].max() >= until), 3) for i in range(len(images))]
        right = torch.tensor([answers[n, i].argmax() == labels[i] for i, n in enumerate(first)]).double()
        shares = [part.mean().item() for part in right.split([len(some) for some in rows])]
        assert accuracy == pytest.approx(sum(shares) / len(shares))
        assert count == pytest.approx(1 + sum(first) / len(first))
        assert macs == pytest.approx(count * cost(fed.method, state, 0.125)[0])
    # What was asked beside it is as without it.
    assert wide["accuracy_fixed"] == fixed_accuracy(fed, state, [0.5]).mean()[0.5]


def test_a_method_of_one_network_has_nothing_to_stop_between(federation):
    fed = federation(HeteroFL())
    with pytest.raises(UserError, match=r"test\.anytime=true: algorithm=heterofl has no base models"):
        records_of(fed, fed.initial_state(), TestSettings(anytime=True), [0.5], 0.0, "best", "")
