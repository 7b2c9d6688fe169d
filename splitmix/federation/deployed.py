"""Test accuracy of the model that is deployed, whose batch-normalisation statistics are fixed."""

from __future__ import annotations

from collections.abc import Sequence

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.values import ServerState
from splitmix.evaluation.accuracy import Accuracy, keeps_statistics
from splitmix.evaluation.statistics import CALIBRATION_IMAGES
from splitmix.evaluation.task import EvaluationTask
from splitmix.federation.federation import Federation
from splitmix.federation.sampling import calibration_rows
from splitmix.federation.tested import tested_batches


def fixed_accuracy(
    federation: Federation,
    state: ServerState,
    widths: Sequence[float],
    *,
    adv_lambda: float = 0.0,
    batch_size: int = 128,
    max_images: int | None = None,
    images: str = "test",
    calibration: int = CALIBRATION_IMAGES,
    predictions: bool = False,
) -> Accuracy:
    """Test accuracy of every client under `customize(..., calibration=federation.calibration_images())`.

    Networks that keep running statistics have them fixed already: then this is `federation.test`.

    Args:
        adv_lambda, max_images, images, predictions: as for `Federation.test`.
        batch_size: images per batch; no result depends on it.
        calibration: number of calibration images.
    """
    if keeps_statistics(federation.method):
        return federation.test(
            state,
            widths,
            adv_lambda=adv_lambda,
            batch_size=batch_size,
            max_images=max_images,
            images=images,
            predictions=predictions,
        )
    check_adv_lambda(federation.method, adv_lambda)
    rows = calibration_rows(federation.clients, calibration, federation.seed)
    task = EvaluationTask(
        widths=tuple(widths),
        **tested_batches(federation, images, batch_size, max_images),
        adv_lambda=adv_lambda,
        shared_calibration=rows,
        predictions=predictions,
    )
    return federation.engine.evaluate(state, task)
