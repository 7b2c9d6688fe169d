"""Metrics of predictions beyond the clients' mean accuracy, by torchmetrics: pooled, by domain and by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from splitmix.evaluation.predictions import Predictions

BINS = 15
"""Bins of equal width that the calibration error compares confidence and accuracy in (Guo et al., ICML 2017)."""

ByClass = Tensor
"""Float `[classes]`; nan where a class has no image that counts."""


def accuracy(predictions: Predictions, classes: int) -> tuple[float, ByClass]:
    """Share of right predictions; of each class, of its images (its recall)."""
    return float((predictions.predicted == predictions.label).double().mean()), recalls(predictions, classes)


def own_accuracy(predictions: Predictions, classes: int) -> tuple[float, ByClass]:
    """`accuracy` where the logits of classes that a client has no training image of are 0: it knows what it lacks.

    HeteroFL's test of every client on its own images (Diao et al., ICLR 2021; their src/models/resnet.py).
    """
    own_classes_only = replace(predictions, predicted=predictions.own)
    return accuracy(own_classes_only, classes)


def balanced_accuracy(predictions: Predictions, classes: int) -> tuple[float, ByClass]:
    """Mean of the recalls of all classes that occur; of each class its recall."""
    by_class = recalls(predictions, classes)
    return float(by_class.nanmean()), by_class


def f1(predictions: Predictions, classes: int) -> tuple[float, ByClass]:
    """Mean over classes that occur or are predicted (macro F1); of each class its F1 against all others."""
    from torchmetrics.functional.classification import multiclass_f1_score

    scores = multiclass_f1_score(predictions.predicted, predictions.label, at_least_two(classes), average="none")
    counted = occurrences(predictions.label, classes) + occurrences(predictions.predicted, classes)
    by_class = scores[:classes].double().where(counted > 0, math.nan)
    return float(by_class.nanmean()), by_class


def calibration_error(predictions: Predictions, classes: int) -> tuple[float, ByClass]:
    """Expected calibration error of the predicted class; of each class, over the images predicted as it.

    The mean over images of the difference between confidence and accuracy, both averaged in `BINS` bins of
    equal width; without its sign.
    """
    by_class = [calibration(predictions.where(predictions.predicted == number)) for number in range(classes)]
    return calibration(predictions), torch.tensor(by_class, dtype=torch.float64)


def nll(predictions: Predictions, classes: int) -> tuple[float, ByClass]:
    """Mean cross-entropy in nats (negative log-likelihood); of each class, of its images."""
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, predictions.label, predictions.loss)
    return float(predictions.loss.mean()), sums / occurrences(predictions.label, classes)


MEASURES: dict[str, Callable[[Predictions, int], tuple[float, ByClass]]] = {
    "accuracy": accuracy,
    "own_accuracy": own_accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "calibration_error": calibration_error,
    "nll": nll,
}
"""What is one number of all images and one of each class, by the name that `test.metrics` gives it."""
MATRIX = "confusion_matrix"
"""What is not."""


def recalls(predictions: Predictions, classes: int) -> ByClass:
    """Share of right predictions among the images of each class."""
    from torchmetrics.functional.classification import multiclass_accuracy

    shares = multiclass_accuracy(predictions.predicted, predictions.label, at_least_two(classes), average="none")
    return shares[:classes].double().where(occurrences(predictions.label, classes) > 0, math.nan)


def at_least_two(classes: int) -> int:
    """The number of classes, as torchmetrics takes it."""
    return max(2, classes)


def occurrences(numbers: Tensor, classes: int) -> Tensor:
    """How often each class stands among class numbers, int64 `[classes]`."""
    return torch.bincount(numbers, minlength=classes)


def calibration(predictions: Predictions) -> float:
    """Expected calibration error; nan without an image."""
    from torchmetrics.functional.classification import binary_calibration_error

    if not len(predictions.label):
        return math.nan
    # Of several classes only the predicted one counts: its confidence says how probable it is to be right.
    right = (predictions.predicted == predictions.label).long()
    return float(binary_calibration_error(predictions.confidence, right, n_bins=BINS, norm="l1"))


def matrix(predictions: Predictions, classes: int) -> list[list[int]]:
    """Number of images by label (down) and predicted class (across)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    counts = multiclass_confusion_matrix(predictions.predicted, predictions.label, at_least_two(classes))
    rows: list[list[int]] = counts[:classes, :classes].tolist()
    return rows


def measured(
    predictions: Predictions, names: Sequence[str], classes: Sequence[str], domains: Sequence[str]
) -> dict[str, Any]:
    """The asked metrics as a test record keeps them; null where there is no image to measure.

    Args:
        names: keys of `MEASURES`, and `MATRIX`.
        classes: names of the classes.
        domains: the domain of each client.

    Returns:
        `metrics`: by name `pooled` (all images together, whichever client has them), `per_domain` (all images of its
        clients together) and `per_class`, of the calibration error also the mean
        `confidence` of all images; `confusion_matrix`, if it was asked for: `classes`, `pooled`, `per_domain`.
    """
    by_domain = {}
    for domain in dict.fromkeys(domains):
        members = torch.tensor([name == domain for name in domains])
        by_domain[domain] = predictions.where(members[predictions.client])
    metrics: dict[str, Any] = {}
    for name in names:
        if name != MATRIX:
            measure = MEASURES[name]
            pooled, per_class = measure(predictions, len(classes))
            metrics[name] = {
                "pooled": known(pooled),
                "per_domain": {domain: known(measure(some, len(classes))[0]) for domain, some in by_domain.items()},
                "per_class": dict(zip(classes, map(known, per_class.tolist()), strict=True)),
            }
            if measure is calibration_error:
                # Whether the model is too sure or not sure enough, which the error without its sign does not say.
                metrics[name]["confidence"] = known(float(predictions.confidence.mean()))
    result: dict[str, Any] = {"metrics": metrics} if metrics else {}
    if MATRIX in names:
        matrices = {domain: matrix(some, len(classes)) for domain, some in by_domain.items()}
        pooled_matrix = matrix(predictions, len(classes))
        result[MATRIX] = {"classes": list(classes), "pooled": pooled_matrix, "per_domain": matrices}
    return result


def known(value: float) -> float | None:
    """A number that JSON can hold; None for one that is not finite."""
    return value if math.isfinite(value) else None
