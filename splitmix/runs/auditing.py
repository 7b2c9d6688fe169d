"""Auditing a run in its folder: what the uploads of some clients give away at some checkpoints, kept as audit.json."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import Progress

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.config import RunConfig
from splitmix.data.dataset import to_float
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import keeps_statistics
from splitmix.federation.build import build_federation
from splitmix.federation.federation import Federation
from splitmix.files import write_atomically
from splitmix.leakage.audit import Audited, findings, one_step
from splitmix.leakage.networks import ClientModel
from splitmix.leakage.settings import AuditSettings
from splitmix.leakage.uploads import LocalSteps
from splitmix.leakage.validation import Attacked, Target, agreement, attack_all
from splitmix.runs.checkpoint import load_checkpoint
from splitmix.runs.folders import checkpoint_path
from splitmix.runs.results_file import read_results

log = logging.getLogger("splitmix")

SCHEMA = 1
NOT_SAID = (
    "It says nothing of membership inference, of uploaded batch-normalisation statistics or metrics, or of what many"
    " rounds give away together."
)


def run_audit(
    config: RunConfig,
    folder: Path,
    checkpoints: Sequence[str],
    clients: Sequence[str] | None,
    settings: AuditSettings,
    command: str,
) -> tuple[list[dict[str, Any]], list[Attacked]]:
    """Audit clients of a run; writes audit.json, replacing the one of an earlier audit.

    Args:
        checkpoints: `last`, `best`, or numbers of rounds that were kept.
        clients: ids; None are the first client of each budget.

    Returns:
        One record per checkpoint, client, threat, image and number of base models; and the reconstructions, where the
        settings ask for an attack.

    Raises:
        UserError: a run, a client, a checkpoint or a threat that cannot be audited.
    """
    paths = {name: checkpoint_path(folder, name, "checkpoints") for name in checkpoints}
    federation = build_federation(config, engine=EngineSettings(accelerator="cpu", workers=1), say=log.info)
    method = federation.method
    threats = threats_of(method, federation, settings)
    if federation.dataset.augmentation is not None:
        log.warning("note: images are audited as they are, without the augmentation that training applies")
    chosen = chosen_clients(federation, clients)
    rounds = read_results(folder / "results.json").get("rounds")
    records: list[dict[str, Any]] = []
    targets: list[Target] = []
    attacked: list[Attacked] = []
    with Progress(disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task("audit", total=len(paths) * len(chosen))
        for name, path in paths.items():
            state = load_checkpoint(path, method, rounds).state
            for client in chosen:
                about = federation.clients[client]
                done = progress.tasks[0].completed

                def tell(what: str, share: float, client_id: str = about.id, where: str = name) -> None:
                    words = f"{where}, client {client_id}: {what}, {100 * share:.0f} %"
                    progress.update(bar, description=words)

                seen = audited(federation, state, client)
                of_client = [finding.record() for finding in findings(seen, threats, settings, tell)]
                budget = federation.budgets[client]
                network = seen.evaluated[0].network.spec.label
                where = {"checkpoint": name, "round": state.round, "client": about.id, "domain": about.domain}
                records += [{**where, "budget": budget, "network": network, **record} for record in of_client]
                targets += targets_of(seen, of_client, settings, f"{name}, client {about.id}")
                progress.update(bar, completed=done + 1)
                if progress.disable:
                    log.info(f"{name}, client {about.id}: {len(of_client)} errors")
        if targets:
            attacked = attack_all(targets, settings, lambda what: progress.update(bar, description=what))
    content = {
        "schema": SCHEMA,
        "command": command,
        "convention": settings.convention,
        "settings": asdict(settings),
        "not_covered": NOT_SAID,
        "records": records,
        "reconstructions": [one.record() for one in attacked],
        "agreement": agreement(attacked),
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "audit.json", lambda file: file.write(text.encode()))
    return records, attacked


def targets_of(client: Audited, records: Sequence[dict[str, Any]], settings: AuditSettings, name: str) -> list[Target]:
    """The images to reconstruct: those of the threats of one step, from the most base models."""
    if settings.attack == "none":
        return []
    most = max(record["base_models"] for record in records)
    targets = []
    for record in records:
        if record["base_models"] == most and record["threat"] != "upload" and record["rmse"] is not None:
            upload, truth = one_step(client, record["threat"], record["image"], most, settings)
            error = record["rmse"] / record["sigma"]
            targets.append(Target(f"{name}, image {record['image'] + 1}", upload, truth, error))
    return targets


def threats_of(method: Method, federation: Federation, settings: AuditSettings) -> tuple[str, ...]:
    """The threats to audit; UserError, in one line, for a run or a threat that cannot be audited."""
    if method.adversarial or method.server_network.norm != "plain":
        raise UserError(
            f"run: algorithm={method.name} trained it on attacked images (adv_lambda={method.adv_lambda:g}), which the"
            " influence function leaves out; audit a run without adversarial training"
        )
    if len(method.server_network.exits) > 1 or method.server_network.members:
        raise UserError(
            f"run: {method.called} trains several exits or base models in one network, and the audit follows the loss"
            " of one; audit a run of another method"
        )
    fixed = keeps_statistics(method)
    followed = isinstance(federation.optimizer, SGD) and type(method).objective is Method.objective
    asked = settings.asked()
    if asked is None:
        return ("image" if fixed else "batch", *(("upload",) if followed else ()))
    if "image" in asked and not fixed:
        raise UserError(
            "audit.threats=image: the run has model.bn=batch, and one image has no batch statistics; choose batch or"
            " upload, or a run with model.bn=tracked"
        )
    if "batch" in asked and not fixed and settings.batch_size < 2:
        raise UserError("audit.batch_size=1: the run has model.bn=batch, and one image has no batch statistics; give 2")
    if "upload" in asked and not followed:
        raise UserError(
            f"audit.threats=upload: local steps of algorithm={method.name} with optimizer={federation.optimizer.name}"
            " cannot be followed, only those of plain training with sgd; choose image or batch"
        )
    return asked


def chosen_clients(federation: Federation, ids: Sequence[str] | None) -> list[int]:
    """Numbers of these clients; the first of each budget for None."""
    if ids is None:
        first = {budget: number for number, budget in reversed(list(enumerate(federation.budgets)))}
        return [first[budget] for budget in sorted(first)]
    numbers = {client.id: number for number, client in enumerate(federation.clients)}
    for name in ids:
        if name not in numbers:
            raise UserError(f"clients={name}: the run has the clients {', '.join([*numbers][:4])}, …; give their ids")
    return [numbers[name] for name in ids]


def audited(federation: Federation, state: ServerState, client: int) -> Audited:
    """A client at the round that follows a state: its base models, its batches, how it steps.

    After the last round that is the round that would follow, with the learning rate of the last one.
    """
    method = federation.method
    planned = method.plan(state, range(len(federation.clients)), federation.seed)[client]
    task = method.download(state, planned)
    memory = state.memory(planned)
    start = method.start(task, memory)
    optimizer, scalars = federation.optimizer, min(state.round, federation.rounds - 1)
    steps = None
    if isinstance(optimizer, SGD):
        lr = optimizer.lr * federation.schedule.factor(scalars, federation.rounds)
        steps = LocalSteps(lr, optimizer.momentum, optimizer.weight_decay, optimizer.clip_norm)
    models: dict[bool, list[ClientModel]] = {
        training: [
            ClientModel.of(
                task.spec,
                {name: value[lane : lane + 1] for name, value in start.items()},
                training=training,
                kept=frozenset(memory),
                masked=method.problem.masked_loss,
                temperature=method.temperature,
            )
            for lane in range(len(task.base_models))
        ]
        for training in (False, True)
    }
    train = federation.dataset.train
    rows = list(federation.batches(client, state.round))
    images = [to_float(train.images[some]).double().contiguous() for some in rows]
    return Audited(models[False], models[True], images, [train.labels[some] for some in rows], steps)
