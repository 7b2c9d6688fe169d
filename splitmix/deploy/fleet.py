"""Which settings of a run fit a deployment; the fleet itself is `splitmix.fleet`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitmix.config import RunConfig
from splitmix.errors import UserError
from splitmix.fleet import Fleet


def refuse_meaningless(config: RunConfig, resolved: Mapping[str, Any], fleet: Fleet) -> None:
    """Refuse settings of a run that mean nothing on real devices.

    Raises:
        UserError: the key is named.
    """
    if resolved.get("fleet"):
        raise UserError("fleet: a deployment has a fleet.yaml of its own beside its config; leave the key out")
    if config.engine.workers not in ("auto", 1):
        raise UserError(f"engine.workers={config.engine.workers}: each device trains by itself; leave the key out")
    if config.scalars.fit_data:
        raise UserError("fit_data=true: no machine has all images; set partition and train_fraction yourself")
    if config.test.bn == "static":
        raise UserError("test.bn=static: needs the images of all clients at once; use test.bn=post")
    if config.test.metrics != ("accuracy",):
        raise UserError("test.metrics: devices answer with accuracies alone; use test.metrics=accuracy")
    if config.test.anytime:
        raise UserError("test.anytime=true: devices answer with accuracies alone; leave the key out")
    if config.test.corruptions:
        raise UserError("test.corruptions: devices answer with accuracies of their own images; leave the key out")
    if config.test.mix != "mean":
        raise UserError(f"test.mix={config.test.mix}: devices test the mean alone; leave the key out")
    if config.scalars.validate_clients is not None:
        raise UserError(
            f"validate_clients={config.scalars.validate_clients}: every device validates the model; leave the key out"
        )
    if config.malicious.name != "none":
        raise UserError(f"malicious={config.malicious.name}: attackers are simulated, not deployed; leave the key out")
    if config.budget.redraw != "never":
        raise UserError(f"budget.redraw={config.budget.redraw}: a device keeps its budget; use budget.redraw=never")
    if config.privacy.name != "none":
        raise UserError(
            f"privacy={config.privacy.name}: every node is sent the seed, and with it the noise; use privacy=none"
        )
    if fleet.clients:
        if config.partition.name != "uniform":
            raise UserError(f"partition={config.partition.name}: the clients of a fleet have their own images already")
        if resolved.get("dataset", {}).get("root"):
            raise UserError("dataset.root: each node says where its own images lie; leave the key out")
