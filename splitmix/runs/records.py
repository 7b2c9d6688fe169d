"""Test records: the accuracy of customised models of a checkpoint, as results.json stores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

from splitmix.algorithms.values import ServerState
from splitmix.config import TestSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import keeps_statistics
from splitmix.evaluation.classification import measured
from splitmix.federation.deployed import fixed_accuracy
from splitmix.federation.federation import Federation
from splitmix.robustness.attacks import Attack


def records_of(
    federation: Federation,
    state: ServerState,
    test: TestSettings,
    widths: Sequence[float],
    adv_lambda: float,
    checkpoint: str,
    command: str,
    attack_name: str = "none",
    attack: Attack | None = None,
) -> list[dict[str, Any]]:
    """Test every width on every client's test images, one record per width.

    With `test.metrics` beyond the accuracy a record has `metrics`, and `confusion_matrix`.
    Without an attack and with `test.bn=trained` a record also says `accuracy_fixed`: that of the model with fixed
    statistics, as it is deployed. It equals `accuracy` where statistics are kept in training; else it is left out for
    clients on real devices, whose images cannot be put together.

    Args:
        adv_lambda: level of robustness.
        checkpoint: `best` or `last`, for the record.
        command: the command that asked for it, for the record.
        attack_name, attack: the option of the config group and its settings; none leaves the images as they are.
    """
    start, method = perf_counter(), federation.method
    if test.sort_base_models:
        if not method.mixes:
            raise UserError(f"test.sort_base_models=true: algorithm={method.name} has a single model, nothing to sort")
        state = state.select(federation.validate(state, method.widths).order())
    accuracy = federation.test(
        state,
        widths,
        adv_lambda=adv_lambda,
        batch_size=test.batch_size,
        bn=test.bn,
        max_images=test.max_images,
        attack=attack,
        predictions=test.asks_predictions,
    )
    names, domains = federation.dataset.classes, [client.domain for client in federation.clients]
    metrics = {w: measured(p, test.metrics, names, domains) for w, p in accuracy.predictions.items()}
    seconds = (perf_counter() - start) / len(widths)
    fixed: dict[float, float] = {}
    if attack is None and test.bn == "trained" and (federation.has_images or keeps_statistics(method)):
        fixed = accuracy.mean()
        if not keeps_statistics(method):
            size, most = test.batch_size, test.max_images
            deployed = fixed_accuracy(
                federation, state, widths, adv_lambda=adv_lambda, batch_size=size, max_images=most
            )
            fixed = deployed.mean()
    return [
        {
            "checkpoint": checkpoint,
            "round": state.round,
            "sort_base_models": test.sort_base_models,
            "bn": test.bn,
            "width": width,
            "adv_lambda": adv_lambda,
            "attack": {"name": attack_name, **({} if attack is None else asdict(attack))},
            "n_images": accuracy.n_images,
            "accuracy": mean,
            **({"accuracy_fixed": fixed[width]} if fixed else {}),
            "per_client": accuracy.per_client[:, column].tolist(),
            **metrics.get(width, {}),
            "command": command,
            "seconds": seconds,
        }
        for column, (width, mean) in enumerate(accuracy.mean().items())
    ]


def final_test(
    federation: Federation, state: ServerState, test: TestSettings, widths: Sequence[float]
) -> tuple[list[dict[str, Any]], dict[float, tuple[float, float | None]]]:
    """The test at the end of training.

    Returns:
        The records that `test` asks for, and by width SA and SA with fixed statistics. Those two are always of clean
        images, level 0 and the other default settings of `test`.
    """
    records = []
    levels = test.adv_lambdas_or(federation.method.adv_lambdas)
    for level in levels:
        records += records_of(federation, state, test, widths, level, "best", "splitmix train")
    plain = records
    if 0 not in levels or replace(test, metrics=TestSettings.metrics) != TestSettings(test.widths, test.adv_lambdas):
        plain = records_of(federation, state, TestSettings(), widths, 0.0, "best", "splitmix train")
    at_zero = [record for record in plain if record["adv_lambda"] == 0]
    return records, {record["width"]: (record["accuracy"], record.get("accuracy_fixed")) for record in at_zero}
