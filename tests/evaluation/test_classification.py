"""Metrics beyond accuracy: equal to scikit-learn's on logits computed apart, on every path, under attacks too."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.partition_classes import Classes
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.classification import MATRIX, MEASURES, measured
from splitmix.evaluation.customize import customize
from splitmix.evaluation.predictions import Predictions
from splitmix.federation.federation import Federation
from splitmix.federation.sampling import present_classes
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws
from splitmix.test_settings import METRICS

BOLD = LinfPGD(16.0, steps=2, random_start=False)
# In float64: in float32 an attack may amplify the rounding of a gradient's sign.
ONE, TWO = (EngineSettings(lanes=4, workers=workers, threads=1, precision="64-true") for workers in (1, 2))


def plain_calibration_error(confidence, right):
    """Confidence against accuracy in 15 bins, weighted by their images."""
    bins = np.minimum((confidence * 15).astype(int), 15)
    return sum(abs((confidence - right)[bins == number].sum()) for number in range(16)) / len(right)


def plain(logits, labels):
    """The metrics as scikit-learn has them, from logits `[n, classes]` and labels `[n]`."""
    predicted, probabilities = logits.argmax(1), np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    present = np.unique(np.concatenate([labels, predicted]))
    return {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": sk.recall_score(labels, predicted, labels=np.unique(labels), average="macro"),
        "f1": sk.f1_score(labels, predicted, labels=present, average="macro"),
        "nll": sk.log_loss(labels, probabilities, labels=range(10)),
        "calibration_error": plain_calibration_error(probabilities.max(1), predicted == labels),
    }


def logits_of(fed, state, width, attack):
    """By client: logits and labels of its test images, from the customised module alone."""
    model = customize(fed.method, state, width).double()
    logits, labels = [], []
    for client in fed.clients:
        images, true = (part[client.test] for part in (fed.dataset.test.images.double() / 255, fed.dataset.test.labels))
        if attack is not None:
            images = attack.perturb(model, images, true, Draws([], []))
        logits.append(model(images).detach().numpy())
        labels.append(true.numpy())
    return logits, labels


@pytest.mark.parametrize(
    ("algorithm", "bn", "attack", "engine"),
    [
        (SplitMix(), "batch", None, ONE),
        pytest.param(HeteroFL(), "batch", BOLD, ONE, marks=pytest.mark.slow),
        pytest.param(SplitMix(), "tracked", BOLD, ONE, marks=pytest.mark.slow),
        pytest.param(SplitMix(), "batch", None, TWO, marks=pytest.mark.slow),
        pytest.param(SplitMix(), "tracked", BOLD, TWO, marks=pytest.mark.slow),
    ],
)
def test_they_equal_a_plain_computation(federation, algorithm, bn, attack, engine):
    fed = federation(algorithm, DigitCNN(bn=bn), engine=engine)
    state, _ = fed.run_round(fed.initial_state())
    accuracy = fed.test(state, [0.25, 1.0], attack=attack, predictions=True)
    without = fed.test(state, [0.25, 1.0], attack=attack)
    fed.engine.close()
    assert torch.equal(accuracy.per_client, without.per_client) and not without.predictions
    domains = [client.domain for client in fed.clients]
    for width, predictions in accuracy.predictions.items():
        record = measured(predictions, METRICS, fed.dataset.classes, domains)
        logits, labels = logits_of(fed, state, width, attack)
        for place in ("a", "b", None):
            rows = [number for number, domain in enumerate(domains) if place in (domain, None)]
            some, true = (np.concatenate([part[row] for row in rows]) for part in (logits, labels))
            own = np.concatenate([logits[row] * present_classes(fed.clients, fed.dataset)[row].numpy() for row in rows])
            expected = {**plain(some, true), "own_accuracy": sk.accuracy_score(true, own.argmax(1))}
            for name, value in expected.items():
                metric = record["metrics"][name]
                got = metric["pooled"] if place is None else metric["per_domain"][place]
                assert got == pytest.approx(value, abs=2e-6), (width, place, name)
            matrix = record[MATRIX]["pooled"] if place is None else record[MATRIX]["per_domain"][place]
            assert matrix == sk.confusion_matrix(true, some.argmax(1), labels=range(10)).tolist()


def predictions_of(label, predicted, confidence=0.9, loss=0.5, client=0):
    """Predictions with these classes; one number stands for all images."""
    columns = (torch.full((len(label),), value, dtype=torch.float64) for value in (confidence, loss))
    number, classes = torch.full((len(label),), client), torch.tensor(predicted)
    return Predictions(number, torch.tensor(label), classes, classes, *columns)


def test_a_class_counts_where_it_occurs():
    """By hand: class 0 twice, once right; class 1 once, right; class 2 only predicted; class 3 nowhere."""
    predictions = predictions_of([0, 0, 1], [0, 2, 1])
    record = measured(predictions, METRICS, ["w", "x", "y", "z"], ["a"])["metrics"]
    assert record["accuracy"]["pooled"] == pytest.approx(2 / 3)
    assert record["balanced_accuracy"] == {
        "pooled": 0.75, "per_domain": {"a": 0.75}, "per_class": {"w": 0.5, "x": 1.0, "y": None, "z": None}
    }  # fmt: skip
    # F1 of class 0: 2 * 1 / (2 + 1); of the predicted class 2: 0.
    assert record["f1"]["pooled"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert record["f1"]["per_class"]["y"] == 0 and record["f1"]["per_class"]["z"] is None
    assert record["nll"]["per_class"] == {"w": 0.5, "x": 0.5, "y": None, "z": None}
    # Of the images predicted as a class: 0.9 sure; all right, or all wrong.
    assert record["calibration_error"]["per_class"] == {
        "w": pytest.approx(0.1), "x": pytest.approx(0.1), "y": pytest.approx(0.9), "z": None
    }  # fmt: skip
    assert record["calibration_error"]["pooled"] == pytest.approx(0.9 - 2 / 3)


def test_a_client_knows_the_classes_that_it_lacks():
    """By hand: the second client has images of classes 0 and 2 alone; logits of the others are 0, not out of reach."""
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [-1.0, 3.0, -2.0]])
    present = torch.tensor([[True, True, True], [True, False, True]])
    predictions = Predictions.of(torch.tensor([0, 1, 1]), torch.tensor([1, 2, 1]), logits, present)
    assert predictions.predicted.tolist() == [1, 1, 1] and predictions.own.tolist() == [1, 2, 1]
    metrics = measured(predictions, ["accuracy", "own_accuracy"], ["x", "y", "z"], ["a", "b"])["metrics"]
    assert metrics["accuracy"]["pooled"] == pytest.approx(2 / 3) and metrics["own_accuracy"]["pooled"] == 1
    assert metrics["own_accuracy"]["per_domain"] == {"a": 1, "b": 1}
    assert torch.equal(Predictions.of(torch.tensor([0]), torch.tensor([1]), logits[:1]).own, torch.tensor([1]))


def test_own_accuracy_in_a_federation_whose_clients_lack_classes():
    splits = [
        ImageSet(torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8), torch.arange(count) % 4, (count,))
        for count in (64, 16)
    ]
    fed = Federation(
        Dataset("noise", ("a",), tuple("wxyz"), *splits), HeteroFL(), engine=ONE,
        partition=Classes(classes_per_client=2, min_samples=8), clients_per_domain=4, batch_size=8,
    )  # fmt: skip
    present = present_classes(fed.clients, fed.dataset)
    assert present.sum(1).tolist() == [2] * len(fed.clients)
    for client, row in zip(fed.clients, present, strict=True):
        assert set(row.nonzero().flatten().tolist()) == set(fed.dataset.train.labels[client.train].tolist())
    [predictions] = fed.test(fed.initial_state(), [0.25], predictions=True).predictions.values()
    model = customize(fed.method, fed.initial_state(), 0.25).double()
    for number, client in enumerate(fed.clients):
        logits = model(fed.dataset.test.images[client.test].double() / 255) * present[number]
        assert torch.equal(predictions.own[predictions.client == number], logits.argmax(1))


def test_what_is_not_finite_is_unknown():
    record = measured(predictions_of([0], [0], loss=math.inf), ["nll"], ["w"], ["a"])
    assert record == {"metrics": {"nll": {"pooled": None, "per_domain": {"a": None}, "per_class": {"w": None}}}}


def test_every_metric_that_can_be_asked_for_is_measured():
    assert {*MEASURES, MATRIX} == set(METRICS)
    assert measured(predictions_of([0], [0]), [MATRIX], ["w"], ["a"]) == {
        MATRIX: {"classes": ["w"], "pooled": [[1]], "per_domain": {"a": [[1]]}}
    }
