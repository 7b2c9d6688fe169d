"""Testing a finished run in its folder: customised models of a checkpoint, recorded in results.json."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.values import ServerState
from splitmix.config import RunConfig
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import keeps_statistics
from splitmix.evaluation.cost import cost
from splitmix.evaluation.mixing import mixable
from splitmix.federation.build import build_federation, check_widths
from splitmix.federation.federation import Federation
from splitmix.federation.in_parts import InParts
from splitmix.federation.transferred import transferred
from splitmix.locks import CLAIM, is_locked
from splitmix.progress import clock
from splitmix.robustness.attacks import Attack, GradientSteps, NoAttack
from splitmix.runs.checkpoint import load_checkpoint
from splitmix.runs.folders import checkpoint_path
from splitmix.runs.records import records_of, tested_state, transfer_records
from splitmix.runs.results import add_tests, update_results
from splitmix.runs.results_file import read_results
from splitmix.runs.rows import TestRow, fewest_images
from splitmix.runs.sanity import measure_sanity
from splitmix.runs.unfinished_tests import UnfinishedTest, question_of
from splitmix.test_settings import TestSettings

log = logging.getLogger("splitmix")

SECONDS_OF_SILENCE = 10.0
"""After which a long measurement says how far it is."""


def run_test(
    config: RunConfig,
    folder: Path,
    checkpoint: str,
    test: TestSettings,
    engine: EngineSettings,
    attacks: Mapping[str, Attack],
    command: str,
) -> tuple[list[TestRow], list[dict[str, Any]]]:
    """Evaluate a run's checkpoint at the asked widths and levels of robustness under the asked attacks.

    Every level is stored in results.json as soon as it is known: a stop loses the one at hand.

    Args:
        attacks: settings by option of the config group `attack`.

    Returns:
        Rows for a table, and the records as they are stored.

    Raises:
        UserError: a missing or damaged checkpoint, a width or a level that the run cannot give.
    """
    path = checkpoint_path(folder, checkpoint)
    results = read_results(folder / "results.json")
    if results.get("engine", {}).get("deployed") and config.model.bn == "local":
        raise UserError(
            f"run={folder}: trained on real devices with model.bn=local, whose batch normalisation stayed there: only"
            " they can test it, and their final test is in results.json"
        )
    if results["status"] == "running" and is_locked(folder / CLAIM):
        log.warning("note: this run is still training; a record is of the checkpoint as it is now, see its round")
    log.info(engine.describe())
    federation = build_federation(config, engine=engine, say=log.info)
    loaded = load_checkpoint(path, federation.method, results.get("rounds"))
    widths = test.widths_or(federation.method.widths)
    check_widths(federation.method, widths, "test.widths")
    levels = test.adv_lambdas_or(federation.method.adv_lambdas)
    for level in levels:
        check_adv_lambda(federation.method, level, "test.adv_lambdas")
    strict = f"robust={test.robust}" if test.robust else "sanity=true" if test.sanity else ""
    if strict and test.bn == "trained" and not keeps_statistics(federation.method):
        raise UserError(
            f"test.{strict}: the predictions of {folder} depend on their batch; fix the statistics with"
            " test.bn=static or post, or train with model.bn=tracked"
        )
    state = tested_state(federation, loaded.state, test)
    records = []

    def store(new_records: list[dict[str, Any]]) -> None:
        update_results(folder / "results.json", partial(add_tests, records=new_records, images=test.images))

    for name, attack in attacks.items():
        used = None if isinstance(attack, NoAttack) else attack
        of_attack = []
        for level in levels:
            unfinished = in_parts = None
            if used is not None and (used.slow or test.robust) and not (test.asks_predictions or test.sanity):
                mixed = mixable(federation.method, widths, test.mix, asked=test.widths != "auto")
                digests = loaded.checksum, str(results.get("config_hash"))
                question = question_of(*digests, test, mixed, level, used, engine.precision)
                unfinished = UnfinishedTest(folder, question, mixed)
                in_parts = InParts(progress_of(f"attack {name}, λ {level:g}"), unfinished)
            new_records = records_of(federation, state, test, widths, level, checkpoint, command, name, used, in_parts)
            if len(levels) * len(attacks) > 2:
                accuracies = "  ".join(
                    f"×{record['width']:g} {100 * record['accuracy']:.1f} %" for record in new_records
                )
                log.info(f"attack {name}, λ {level:g}:  {accuracies}")
            store(new_records)
            if unfinished is not None:
                unfinished.recorded()
            if test.sanity and isinstance(used, GradientSteps):
                add_sanity(federation, state, test, level, used, new_records)
                store(new_records)
            of_attack += new_records
        if test.transfer and used is not None:
            add_transfer(federation, state, test, levels, used, of_attack)
            store(of_attack)
        records += of_attack
    price = {width: cost(federation.method, state, width) for width in widths}
    rows = [
        TestRow(
            record["width"],
            record["adv_lambda"],
            record["attack"]["name"],
            record["accuracy"],
            min(record["per_client"]),
            max(record["per_client"]),
            fewest_images(record, results["clients"], test.images),
            *price[record["width"]],
            record.get("accuracy_fixed"),
            {name: metric["pooled"] for name, metric in record.get("metrics", {}).items()},
            record.get("backdoor_success"),
            (record["low"], record["high"]) if "low" in record else None,
        )
        for record in records
    ]
    log.info(f"{checkpoint} checkpoint of {folder} after {state.round} rounds; recorded in {folder / 'results.json'}")
    return rows, records


def add_sanity(
    federation: Federation,
    state: ServerState,
    test: TestSettings,
    level: float,
    attack: GradientSteps,
    records: Sequence[dict[str, Any]],
) -> None:
    """Each of these records, of one level under one attack, gets its `sanity`."""

    def say(words: str) -> None:
        log.info(f"sanity of {records[0]['attack']['name']}, λ {level:g}: {words}")

    measured = measure_sanity(federation, state, test, records, level, attack, say)
    for record in records:
        record["sanity"] = measured[record["width"]]


def add_transfer(
    federation: Federation,
    state: ServerState,
    test: TestSettings,
    levels: Sequence[float],
    attack: Attack,
    records: Sequence[dict[str, Any]],
) -> None:
    """Attack at every width and level of the records and predict at each of them; each record gets its `transfer`."""
    start = perf_counter()
    widths = tuple(dict.fromkeys(record["width"] for record in records))
    what = f"transfer of {records[0]['attack']['name']}"
    log.info(
        f"{what}: images attacked at {len(records)} models, each predicted by all of them; about"
        f" {clock(sum(record['seconds'] for record in records))} and more"
    )
    measured = transferred(
        federation, state, widths, levels, attack,
        batch_size=test.batch_size, bn=test.bn, max_images=test.max_images, images=test.images,
        progress=progress_of(what),
    )  # fmt: skip
    by_target = transfer_records(measured, perf_counter() - start)
    for record in records:
        record["transfer"] = by_target[record["width"], record["adv_lambda"]]


def progress_of(what: str) -> Callable[[int, int], None]:
    """Says how many clients are done, of how many, where it takes long."""
    start = last = perf_counter()
    before: int | None = None

    def progress(done: int, clients: int) -> None:
        nonlocal last, before
        if before is None:
            before = done
            if done:
                log.info(f"{what}: {done} of {clients} clients are known from a test that was stopped")
            return
        if done == clients or perf_counter() - last < SECONDS_OF_SILENCE:
            return
        last = perf_counter()
        left = (last - start) / (done - before) * (clients - done)
        log.info(f"{what}: {done} of {clients} clients, {clock(left)} left")

    return progress
