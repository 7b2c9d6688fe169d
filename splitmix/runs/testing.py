"""Testing a finished run in its folder: customised models of a checkpoint, recorded in results.json."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.config import RunConfig, TestSettings
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.cost import cost
from splitmix.federation.build import build_federation, check_widths
from splitmix.locks import CLAIM, is_locked
from splitmix.robustness.attacks import Attack, NoAttack
from splitmix.runs.checkpoint import load_checkpoint
from splitmix.runs.records import records_of
from splitmix.runs.results import add_tests, update_results
from splitmix.runs.results_file import read_results
from splitmix.runs.rows import TestRow, fewest_images

log = logging.getLogger("splitmix")


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
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        raise UserError(f"checkpoint={checkpoint}: {path} does not exist; train further or choose checkpoint=last")
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
    state = load_checkpoint(path, federation.method, results.get("rounds")).state
    widths = test.widths_or(federation.method.widths)
    check_widths(federation.method, widths, "test.widths")
    levels = test.adv_lambdas_or(federation.method.adv_lambdas)
    for level in levels:
        check_adv_lambda(federation.method, level, "test.adv_lambdas")
    records = []
    for name, attack in attacks.items():
        used = None if isinstance(attack, NoAttack) else attack
        for level in levels:
            new_records = records_of(federation, state, test, widths, level, checkpoint, command, name, used)
            if len(levels) * len(attacks) > 2:
                accuracies = "  ".join(
                    f"×{record['width']:g} {100 * record['accuracy']:.1f} %" for record in new_records
                )
                log.info(f"attack {name}, λ {level:g}:  {accuracies}")
            update_results(folder / "results.json", partial(add_tests, records=new_records))
            records += new_records
    price = {width: cost(federation.method, state, width) for width in widths}
    rows = [
        TestRow(
            record["width"],
            record["adv_lambda"],
            record["attack"]["name"],
            record["accuracy"],
            min(record["per_client"]),
            max(record["per_client"]),
            fewest_images(record, results["clients"]),
            *price[record["width"]],
            record.get("accuracy_fixed"),
            {name: metric["pooled"] for name, metric in record.get("metrics", {}).items()},
        )
        for record in records
    ]
    log.info(f"{checkpoint} checkpoint of {folder} after {state.round} rounds; recorded in {folder / 'results.json'}")
    return rows, records
