"""Dials, early answers and limits, of a model whose base models are known numbers."""

import time
from pathlib import Path

import numpy as np
import pytest

from splitmix.errors import UserError
from splitmix.runtime.anytime import AnytimeModel
from splitmix.runtime.manifest import Manifest, Part

LOGITS = np.array([[0.0, 1.0], [4.0, 0.0], [4.0, 0.0], [8.0, 0.0]], np.float32)
"""Of each base model, for every image."""
MEANS = LOGITS.cumsum(0) / np.arange(1, 5)[:, None]
IMAGE = np.zeros((1, 2, 2), np.uint8)


class Known(AnytimeModel):
    """Base models that answer LOGITS, after a pause."""

    def __init__(self, held=4, pause=0.0, dual=True):
        parts = tuple(Part(f"parts/b{number}.safetensors", 1, "") for number in range(4))
        costs = tuple({"macs": 10.0 * n, "params": 5.0 * n, "bytes": 20.0 * n} for n in range(1, 5))
        widths = (0.25, 0.5, 0.75, 1.0)
        super().__init__(Manifest(Path("b"), {}, parts, widths, ("cat", "dog"), (1, 2, 2), False, dual, costs), held)
        self.number_held, self.pause, self.calls = held, pause, []

    @property
    def held(self):
        return self.number_held

    def base_logits(self, images, number):
        self.calls.append(number)
        time.sleep(self.pause)
        return np.repeat(LOGITS[number : number + 1], len(images), 0)

    def handle(self):
        return self


def test_predict_mixes_what_the_width_says():
    for count, width in enumerate((0.25, 0.5, 0.75, 1.0), 1):
        answer = Known().set(width=width).predict(IMAGE)
        powers = np.exp(MEANS[count - 1])
        np.testing.assert_allclose(answer.probabilities, powers / powers.sum(), rtol=1e-5)
        assert (answer.label, answer.name) == ((1, "dog") if count == 1 else (0, "cat"))
        assert (answer.base_models, answer.width) == (count, width)
        assert answer.confidence == answer.probabilities.max()


def test_stream_ends_at_what_predict_says():
    model = Known()
    answers = list(model.stream(IMAGE))
    assert [answer.base_models for answer in answers] == [1, 2, 3, 4] and model.calls == [0, 1, 2, 3]
    np.testing.assert_allclose(answers[-1].probabilities, model.predict(IMAGE).probabilities, rtol=1e-6)


def test_until_stops_at_the_confidence_and_costs_no_more():
    model = Known()
    # Means of the logits: [0, 1], [2, .5], [2.67, .33], [4, .25]: confidences .73, .82, .91, .98.
    assert model.predict(IMAGE, until=0.9).base_models == 3 and model.calls == [0, 1, 2]
    batch = model.predict(np.stack([IMAGE, IMAGE]), until=0.8)
    assert batch.base_models.tolist() == [2, 2] and batch.name == ["cat", "cat"]
    assert model.predict(IMAGE, until=1.0).base_models == 4


def test_deadline_stops_in_time_and_always_answers():
    model = Known(pause=0.03)
    answer = model.predict(IMAGE, deadline_ms=75)
    assert answer.base_models in (1, 2) and len(model.calls) == answer.base_models
    assert model.predict(IMAGE, deadline_ms=0.001).base_models == 1
    assert Known().predict(IMAGE, deadline_ms=60_000).base_models == 4


@pytest.mark.slow
def test_fit_picks_the_widest_within_all_limits():
    assert Known().fit(max_macs=35).width == 0.75
    assert Known().fit(max_macs=35, max_params=11).width == 0.5
    assert Known().fit(max_bytes=20).width == 0.25
    assert Known(held=2).fit(max_macs=1e9).width == 0.5
    assert Known(pause=0.01).fit(max_latency_ms=1000).width == 1.0
    for limits, message in (
        ({"max_macs": 9}, "max_macs=9: the narrowest model has 10 macs"),
        ({}, "fit: give max_macs"),
    ):
        with pytest.raises(UserError, match=message):
            Known().fit(**limits)
    with pytest.raises(UserError, match="max_latency_ms=5: the narrowest model takes"):
        Known(pause=0.01).fit(max_latency_ms=5)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"width": 0.3}, r"width=0.3: this bundle gives 0.25, 0.5, 0.75, 1"),
        ({"adv_lambda": 1.5}, r"adv_lambda=1.5: give a value from 0 to 1"),
        ({"adv_lambda": float("nan")}, r"adv_lambda=nan"),
        ({"width": "wide"}, r"width='wide': give a number"),
        ({"adv_lambda": "0.5"}, r"adv_lambda='0.5': give a number"),
        ({"width": 1, "adv_lambda": 0.3}, r"width=1: needs 4 base models, and b holds 2; missing: parts/b0.safet"),
    ],
)
def test_dials_that_cannot_be_set_stay(dials, message):
    model = Known(held=2).set(width=0.25, adv_lambda=0.1)
    with pytest.raises(UserError, match=message):
        model.set(**dials)
    assert (model.width, model.adv_lambda) == (0.25, 0.1)


def test_other_mistakes_are_one_line():
    with pytest.raises(UserError, match=r"adv_lambda=0\.5: the run was trained without dual"):
        Known(dual=False).set(adv_lambda=0.5)
    with pytest.raises(UserError, match="until=2: give a confidence"):
        Known().predict(IMAGE, until=2)
    with pytest.raises(UserError, match="deadline_ms=0: give a time"):
        Known().predict(IMAGE, deadline_ms=0)
