"""Test records: the accuracy of customised models of a checkpoint, as results.json stores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from time import perf_counter
from typing import Any

from torch import Tensor

from splitmix.algorithms.values import ServerState
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy, keeps_statistics
from splitmix.evaluation.backdoor import backdoor_success
from splitmix.evaluation.classification import measured
from splitmix.evaluation.cost import cost
from splitmix.evaluation.early_exit import early_exit
from splitmix.evaluation.intervals import bootstrap_interval
from splitmix.evaluation.mixing import MEAN, mixable
from splitmix.evaluation.transfer import Place, Transfer
from splitmix.federation.deployed import fixed_accuracy
from splitmix.federation.federation import Federation
from splitmix.federation.in_parts import InParts
from splitmix.robustness.attacks import Attack
from splitmix.robustness.patch import Patch
from splitmix.test_settings import TestSettings


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
    in_parts: InParts | None = None,
) -> list[dict[str, Any]]:
    """Test every width on every client's images, one record per width.

    With `test.metrics` beyond the accuracy a record has `metrics`, and `confusion_matrix`.
    Without an attack, and with `test.bn=trained` and `test.mix=mean`, a record also says `accuracy_fixed`: that of the
    model with fixed statistics, as it is deployed. It equals `accuracy` where statistics are kept in training; else it
    is left out for clients on real devices, whose images cannot be put together. With `test.anytime` such a record of
    several base models also has `anytime`: the early exit of the deployed model. A record without an attack has
    `corruptions` with `test.corruptions`, the accuracy at severities 1 to 5 by kind, and `backdoor_success` after
    training with a backdoor. With `test.mix=trimmed` widths of fewer than three base models are left out, unless
    `test.widths` names them. With `test.robust` a record has `low` and `high`, the interval of its accuracy; with
    `test.sanity` one of an attack has `loss`, the mean cross-entropy in nats.

    Args:
        state: with its base models in the order in which they are mixed (`tested_state`).
        adv_lambda: level of robustness.
        checkpoint: `best`, `last` or the number of a round, for the record.
        command: the command that asked for it, for the record.
        attack_name, attack: the option of the config group and its settings; none leaves the images as they are.
        in_parts: as for `Federation.test`.
    """
    start, method = perf_counter(), federation.method
    if test.anytime and not method.mixes:
        raise UserError(
            f"test.anytime=true: {method.called} has no base models of one width to stop between; leave it out"
        )
    widths = mixable(method, widths, test.mix, asked=test.widths != "auto")
    tested = partial(
        federation.test,
        state,
        widths,
        adv_lambda=adv_lambda,
        batch_size=test.batch_size,
        bn=test.bn,
        max_images=test.max_images,
        images=test.images,
        mix=test.mix,
    )
    if in_parts is not None:
        tested = partial(tested, in_parts=in_parts)
    checked = test.sanity and attack is not None
    accuracy = tested(attack=attack, predictions=test.asks_predictions or checked)
    names, domains = federation.dataset.classes, [client.domain for client in federation.clients]
    of_width = accuracy.predictions.items()
    metrics = {w: measured(p, test.metrics, names, domains) for w, p in of_width if test.asks_predictions}
    losses = {w: float(p.loss.mean()) for w, p in of_width if checked}
    seconds = (perf_counter() - start) / len(widths)
    corrupted = {} if attack is not None else corrupted_accuracies(tested, test.corruptions)
    opened = {} if attack is not None else backdoor_successes(tested, method.problem.malicious.patch)
    fixed: dict[float, float] = {}
    anytime: dict[float, Any] = {}
    deployed_so = attack is None and test.bn == "trained" and test.mix == MEAN
    if deployed_so and (federation.has_images or keeps_statistics(method)):
        fixed = accuracy.mean()
        if test.anytime or not keeps_statistics(method):
            deployed = fixed_accuracy(
                federation,
                state,
                method.widths if test.anytime else widths,
                adv_lambda=adv_lambda,
                batch_size=test.batch_size,
                max_images=test.max_images,
                images=test.images,
                predictions=test.anytime,
            )
            fixed = deployed.mean()
            if test.anytime:
                anytime = early_exits(deployed, cost(method, state, method.widths[0])[0])
    return [
        {
            "checkpoint": checkpoint,
            "round": state.round,
            "sort_base_models": test.sort_base_models,
            "bn": test.bn,
            "mix": test.mix,
            "width": width,
            "adv_lambda": adv_lambda,
            "attack": {"name": attack_name, **({} if attack is None else asdict(attack))},
            "n_images": accuracy.n_images,
            "accuracy": mean,
            **({"accuracy_fixed": fixed[width]} if fixed else {}),
            **({"loss": losses[width]} if width in losses else {}),
            **({"backdoor_success": opened[width]} if width in opened else {}),
            **(interval(accuracy.per_client[:, column], federation.seed) if test.robust else {}),
            "per_client": accuracy.per_client[:, column].tolist(),
            **metrics.get(width, {}),
            **({"anytime": anytime[width]} if width in anytime else {}),
            **({"corruptions": corrupted[width]} if width in corrupted else {}),
            "command": command,
            "seconds": seconds,
        }
        for column, (width, mean) in enumerate(accuracy.mean().items())
    ]


def interval(per_client: Tensor, seed: int) -> dict[str, float]:
    """What a record keeps of how sure its accuracy is."""
    return dict(zip(("low", "high"), bootstrap_interval(per_client.numpy(), seed), strict=True))


def tested_state(federation: Federation, state: ServerState, test: TestSettings) -> ServerState:
    """The state with its base models in the order in which they are mixed."""
    if not test.sort_base_models:
        return state
    if not federation.method.mixes:
        raise UserError(
            f"test.sort_base_models=true: {federation.method.called} has no base models of one width to sort; leave it"
            " out"
        )
    return state.select(federation.validate(state, federation.method.widths).order())


def transfer_records(transfer: Transfer, seconds: float) -> dict[Place, dict[str, Any]]:
    """By target what a record keeps as `transfer`: the accuracy on images attacked at each source, and at all at once.

    Args:
        seconds: that all of it took.
    """
    sources, worst = transfer.places, transfer.worst_mean()
    return {
        target: {
            "widths": [width for width, _ in sources],
            "adv_lambdas": [level for _, level in sources],
            "accuracy": [by_source[source] for source in sources],
            "worst": worst[target],
            "seconds": seconds / len(sources),
        }
        for target, by_source in transfer.mean().items()
    }


def corrupted_accuracies(
    tested: Callable[..., Accuracy], corruptions: Sequence[str]
) -> dict[float, dict[str, list[float]]]:
    """By width and kind of corruption the accuracy at severities 1 to 5, mean over clients; empty if none is asked.

    Args:
        tested: gives the accuracies under an attack.
    """
    if not corruptions:
        return {}
    from splitmix.robustness.corruptions import SEVERITIES, Corruption, kinds

    accuracies: dict[float, dict[str, list[float]]] = {}
    for kind in kinds(corruptions):
        for severity in SEVERITIES:
            for width, mean in tested(attack=Corruption(kind, severity)).mean().items():
                accuracies.setdefault(width, {}).setdefault(kind, []).append(mean)
    return accuracies


def backdoor_successes(tested: Callable[..., Accuracy], patch: Patch | None) -> dict[float, float]:
    """By width how often the patch of malicious clients works; empty without a backdoor, or images to open it with.

    Args:
        tested: gives the predictions under an attack.
    """
    if patch is None:
        return {}
    patched = tested(attack=patch, predictions=True)
    shares = {width: backdoor_success(predictions, patch.target) for width, predictions in patched.predictions.items()}
    return {width: share for width, share in shares.items() if share is not None}


def early_exits(deployed: Accuracy, macs: float) -> dict[float, dict[str, Any]]:
    """`early_exit` up to every width of several base models, as records keep it.

    Args:
        deployed: of all widths that the method gives, with predictions.
        macs: of one base model and one image.
    """
    widths = sorted(deployed.predictions)
    return {
        width: asdict(early_exit({known: deployed.predictions[known] for known in widths[: count + 1]}, macs))
        for count, width in enumerate(widths)
        if count
    }


def final_test(
    federation: Federation, state: ServerState, test: TestSettings, widths: Sequence[float]
) -> tuple[list[dict[str, Any]], dict[float, dict[str, Any]]]:
    """The test at the end of training.

    Returns:
        The records that `test` asks for, and by width `sa`, `sa_fixed` and, after training with a backdoor,
        `backdoor_success`. Those are always of clean images, level 0 and the other default settings of `test`.
    """
    records = []
    levels = test.adv_lambdas_or(federation.method.adv_lambdas)
    in_order = tested_state(federation, state, test)
    for level in levels:
        records += records_of(federation, in_order, test, widths, level, "best", "splitmix train")
    plain = records
    if 0 not in levels or replace(test, metrics=TestSettings.metrics, anytime=False, corruptions=()) != TestSettings(
        test.widths, test.adv_lambdas
    ):
        plain = records_of(federation, state, TestSettings(), widths, 0.0, "best", "splitmix train")
    at_zero = [record for record in plain if record["adv_lambda"] == 0]
    return records, {
        record["width"]: {
            "sa": record["accuracy"],
            "sa_fixed": record.get("accuracy_fixed"),
            **{key: record[key] for key in ("backdoor_success",) if key in record},
        }
        for record in at_zero
    }
