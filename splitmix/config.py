"""The top-level configuration: its schema, its checks, its hash, and where conf/ lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import splitmix
from splitmix.binding import Trusted, bind, bind_fields, convert, nearest, shown
from splitmix.errors import UserError
from splitmix.fleet import fleet_of, read_fleet_values
from splitmix.test_settings import TestSettings

COMPONENTS = (
    "dataset", "partition", "budget", "algorithm", "model", "optimizer", "server_optimizer", "aggregation", "privacy",
    "malicious", "schedule", "engine", "logger", "test", "train_attack"
)  # fmt: skip
NO_SERVER_OPTIMIZER = {"_target_": "splitmix.algorithms.server_optimizers.NoServerOptimizer"}
MEAN = {"_target_": "splitmix.algorithms.aggregation.Mean"}
NO_PRIVACY = {"_target_": "splitmix.privacy.settings.NoPrivacy"}
HONEST = {"_target_": "splitmix.algorithms.malicious.Honest"}
OPTIONAL: dict[str, Any] = {
    "resume": None,
    "validate_clients": None,
    "fit_data": False,
    "checkpoint_rounds": [],
    "train_attack": {"_target_": "splitmix.robustness.attacks.LinfPGD"},
    "server_optimizer": NO_SERVER_OPTIMIZER,
    "aggregation": MEAN,
    "privacy": NO_PRIVACY,
    "malicious": HONEST,
}
"""What runs of earlier versions lack, and what it was."""

AT_LEAST = {
    "seed": 0, "rounds": 1, "local_epochs": 1, "batch_size": 2, "clients_per_domain": 1, "clients_per_round": 1,
    "validate_clients": 1, "validate_every": 1, "repeats": 1, "image_size": 1
}  # fmt: skip
AT_MOST = {"seed": 2**63 - 1, "clients_per_domain": 10**5, "image_size": 4096, "batch_size": 10**6}
"""Largest whole numbers by key; 10^9 for the others."""


def check_ranges(settings: object) -> None:
    """Raise UserError for a top-level key of any verb that is out of range; None passes."""
    for key, low in AT_LEAST.items():
        value, high = getattr(settings, key, None), AT_MOST.get(key, 10**9)
        if value is not None and value < low:
            raise UserError(f"{key}={value}: give at least {low}")
        if value is not None and value > high:
            raise UserError(f"{key}={value}: give at most {high}")
    if not 0 < (share := getattr(settings, "train_fraction", 1.0)) <= 1:
        raise UserError(f"train_fraction={shown(share)}: give a share above 0 and up to 1")
    if not 0 < (share := getattr(settings, "val_fraction", 0.5)) < 1:
        raise UserError(f"val_fraction={shown(share)}: give a share between 0 and 1 (it picks the best round)")


@dataclass(frozen=True)
class Scalars:
    """The top-level keys of `conf/train.yaml` that are plain values; see there."""

    name: str
    seed: int
    rounds: int
    local_epochs: int
    batch_size: int
    clients_per_domain: int
    clients_per_round: int | None
    train_fraction: float
    val_fraction: float
    validate_every: int
    validate_clients: int | None = None
    resume: str | None = None
    fit_data: bool = False
    checkpoint_rounds: tuple[int, ...] = ()

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        for number in self.checkpoint_rounds:
            if not 0 <= number <= self.rounds:
                raise UserError(f"checkpoint_rounds={number}: give rounds from 0 (the start) to {self.rounds}")
        if not self.name or self.name.startswith("/") or ".." in self.name.split("/"):
            raise UserError(f"name={self.name}: it names the folder of the run under outputs/; give a plain name")
        check_ranges(self)


@dataclass(frozen=True)
class RunConfig:
    """A bound configuration: plain values and components, each checked for names and types."""

    scalars: Scalars
    dataset: Any
    partition: Any
    budget: Any
    algorithm: Any
    model: Any
    optimizer: Any
    server_optimizer: Any
    aggregation: Any
    privacy: Any
    malicious: Any
    schedule: Any
    engine: Any
    logger: Any
    test: TestSettings
    train_attack: Any


def load_run_config(cfg: Mapping[str, Any], trusted: Trusted | None = None) -> RunConfig:
    """Bind a resolved training configuration.

    Args:
        trusted: what may be imported for it, by group; None, for a config that the user's command composed, is all.

    Raises:
        UserError: an unknown key, a wrong type, a value out of range.
    """
    cfg = {**OPTIONAL, **cfg}
    # What a command trusts is not part of a run.
    convert(cfg.pop("trust", []), tuple[str, ...], "trust")
    fleet = cfg.pop("fleet", None)
    scalars = {key: value for key, value in cfg.items() if key not in COMPONENTS}
    known = [*Scalars.__dataclass_fields__, *COMPONENTS]
    for key in scalars:
        if key not in known:
            raise UserError(f"unknown key {key}{nearest(str(key), known)}")
    for key in known:
        if key not in cfg:
            raise UserError(f"the configuration lacks the key {key}: is it a config of splitmix train?")
    bound = Scalars(**bind_fields(Scalars, scalars, ""))
    bound.check()
    config = RunConfig(bound, **{key: bind(cfg[key], key, trusted) for key in COMPONENTS})
    config.test.check()
    config.test.refuse_in_training()
    return config if fleet is None else with_fleet(config, fleet)


def with_fleet(config: RunConfig, values: Any) -> RunConfig:
    """The configuration with the budgets and the clients of a fleet (UserError: a wrong value, or none)."""
    try:
        fleet = fleet_of(values)
    except UserError as error:
        raise UserError(str(error) if str(error).startswith("fleet") else f"fleet: {error}") from error
    if not fleet.clients:
        raise UserError("fleet: it names no clients; give each client an id, a domain and a budget")
    if config.budget.redraw != fleet.redraw:
        raise UserError(f"budget.redraw={config.budget.redraw}: a device keeps its budget; use budget.redraw=never")
    return replace(config, budget=fleet)


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain values."""
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if not isinstance(values, dict):
        raise UserError("the configuration is a list, not a mapping")
    return {str(key): value for key, value in values.items() if key != "hydra"}


def resolve_run(cfg: DictConfig) -> dict[str, Any]:
    """The composed config of a run as plain values, with the content of the file that `fleet` names in its place."""
    values = resolve(cfg)
    if isinstance(file := values.get("fleet"), str):
        try:
            values["fleet"] = read_fleet_values(Path(file))
        except UserError as error:
            raise UserError(f"fleet={file}: {error}") from error
    return values


def conf_dir() -> Path:
    """The checkout's conf/ if there is one, else the copy that the wheel carries."""
    package = Path(splitmix.__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"
