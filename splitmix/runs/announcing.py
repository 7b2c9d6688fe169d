"""What a training says before its first round: facts of its clients, of privacy and of attackers, and warnings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from splitmix.config import RunConfig
from splitmix.data.clients import ClientData

log = logging.getLogger("splitmix")


def announce(federation: Any, config: RunConfig, widths: int, validated: Sequence[ClientData]) -> None:
    """Log what the user should know of a federation.

    Args:
        federation: a `Federation`, or one whose clients are on devices.
        widths: how many are validated.
        validated: the clients that are.
    """
    method, clients = federation.method, federation.clients
    if lone := [client.id for client in clients if len(client.train) % federation.batch_size == 1]:
        log.info(
            f"the last batch of {len(lone)} of {len(clients)} clients has one image, and no variance; it is left out:"
            f" {', '.join(lone)}"
        )
    fleet_rounds = federation.fleet_rounds
    for note in [*method.notes, *(fleet_rounds.notes if fleet_rounds else [])]:
        log.warning(f"note: {note}")
    if guarantee := federation.merging.guarantee(config.scalars.rounds):
        log.info(f"privacy after all rounds: {guarantee.text}")
    if attackers := method.problem.malicious.attackers(len(clients), federation.seed):
        names = ", ".join(clients[client].id for client in sorted(attackers))
        log.info(f"malicious={config.malicious.name}: {len(attackers)} of {len(clients)} clients attack: {names}")
    if method.adversarial and config.test.max_images is None:
        images = sum(len(client.val) for client in validated)
        log.info(
            f"note: RA is validated on all {images} validation images at {widths} widths; less with"
            " test.max_images=256, test.widths=1 or validate_every=5"
        )
