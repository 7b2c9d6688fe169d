"""The top-level configuration: its schema, its checks, its hash, and where conf/ lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

import splitmix
from splitmix.binding import FORMER_TARGETS, Trusted, bind, bind_fields, convert, nearest, shown
from splitmix.errors import UserError
from splitmix.widths import distinct

COMPONENTS = (
    "dataset", "partition", "budget", "algorithm", "model", "optimizer", "server_optimizer", "schedule", "engine",
    "logger", "test", "train_attack"
)  # fmt: skip
NO_SERVER_OPTIMIZER = {"_target_": "splitmix.algorithms.server_optimizers.NoServerOptimizer"}
OPTIONAL = {
    "resume": None,
    "fit_data": False,
    "train_attack": {"_target_": "splitmix.robustness.attacks.LinfPGD"},
    "server_optimizer": NO_SERVER_OPTIMIZER,
}
"""What runs of earlier versions lack, and what it was."""
ADDED_LATER: dict[str, dict[str, Any]] = {
    "algorithm": {"weighting": "samples"},
    "budget": {"redraw": "never"},
    "dataset": {"domain_count": 5},
    "optimizer": {"clip_norm": None},
}
"""Keys of options that earlier versions lacked, with the value that leaves the numbers as they were."""
NOT_HASHED = ("name", "engine", "logger", "resume", "hydra", "test", "fit_data", "trust")

AT_LEAST = {
    "seed": 0, "rounds": 1, "local_epochs": 1, "batch_size": 2, "clients_per_domain": 1, "clients_per_round": 1,
    "validate_every": 1, "repeats": 1, "image_size": 1
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
    resume: str | None = None
    fit_data: bool = False

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if not self.name or self.name.startswith("/") or ".." in self.name.split("/"):
            raise UserError(f"name={self.name}: it names the folder of the run under outputs/; give a plain name")
        check_ranges(self)


@dataclass(frozen=True)
class TestSettings:
    """Settings of the config group `test`.

    Attributes:
        widths: widths to test; `auto` is every width that the method can give.
        adv_lambdas: levels of robustness to test, in [0, 1]; `auto` is the paper's five where the method can give them,
            else 0.
        bn: `trained`; `post`: statistics estimated on each client's training images; `static`: on those of all clients
            at once.
        batch_size: images per batch, at least 2.
        sort_base_models: mix base models from the best to the worst validation accuracy.
        max_images: test images used, all clients together; None means all.
    """

    __test__: ClassVar[bool] = False  # the name is not a test's

    widths: tuple[float, ...] | str = "auto"
    adv_lambdas: tuple[float, ...] | str = "auto"
    bn: str = "trained"
    batch_size: int = 128
    sort_base_models: bool = False
    max_images: int | None = None

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        for key in ("widths", "adv_lambdas"):
            value = getattr(self, key)
            if isinstance(value, str) and value != "auto":
                raise UserError(f"test.{key}={value}: give a number, a list of numbers, or auto")
            if value == ():
                raise UserError(f"test.{key}=[]: give at least one number, or auto")
        for adv_lambda in self.adv_lambdas_or(()):
            if not 0 <= adv_lambda <= 1:
                raise UserError(f"test.adv_lambdas={shown(adv_lambda)}: give values from 0 (clean) to 1 (robust)")
        if self.bn not in ("trained", "post", "static"):
            raise UserError(f"test.bn={self.bn}: choose trained, post or static")
        if self.batch_size < 2:
            raise UserError(f"test.batch_size={self.batch_size}: give at least 2")
        if self.max_images is not None and self.max_images < 1:
            raise UserError(f"test.max_images={self.max_images}: give at least 1, or null for all")

    def widths_or(self, auto: tuple[float, ...]) -> tuple[float, ...]:
        """The widths to test, each once and as the method names them, `auto` standing for all that it names."""
        return auto if isinstance(self.widths, str) else distinct(self.widths, auto)

    def adv_lambdas_or(self, auto: tuple[float, ...]) -> tuple[float, ...]:
        """The levels of robustness to test, each once, `auto` standing for the given ones."""
        return auto if isinstance(self.adv_lambdas, str) else tuple(dict.fromkeys(self.adv_lambdas))


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
    return config


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain values."""
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if not isinstance(values, dict):
        raise UserError("the configuration is a list, not a mapping")
    return {str(key): value for key, value in values.items() if key != "hydra"}


def config_hash(resolved: Mapping[str, Any]) -> str:
    """12 hex digits of everything that decides a run's numbers: not name, engine, logger, resume, and of `test` only
    `max_images`, where RA is validated on so many images.
    """
    test, algorithm = resolved.get("test"), resolved.get("algorithm")
    if isinstance(test, Mapping) and isinstance(algorithm, Mapping):
        # Read from the keys alone: the hash of a folder must not import what its config names.
        sees_attacks = algorithm.get("adv_lambda") or algorithm.get("lambdas")
        if sees_attacks and test.get("max_images") is not None:
            return _hash(resolved, {"test": {"max_images": test["max_images"]}})
    return _hash(resolved, {})


def former_hash(resolved: Mapping[str, Any]) -> str:
    """The hash that earlier versions stored for this config: it left `test.max_images` out."""
    return _hash(resolved, {})


def _hash(resolved: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    kept = {key: _by_first_name(value) for key, value in resolved.items() if key not in NOT_HASHED}
    # What earlier versions lacked counts only where it changes numbers, so that their runs are known again.
    if kept.get("server_optimizer") == NO_SERVER_OPTIMIZER:
        del kept["server_optimizer"]
    for group, added in ADDED_LATER.items():
        if isinstance(node := kept.get(group), Mapping):
            kept[group] = {key: value for key, value in node.items() if key not in added or value != added[key]}
    text = json.dumps({key: _canonical(value) for key, value in {**kept, **more}.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _by_first_name(node: Any) -> Any:
    """A group's node with its class under the first name that it ever had: a class that moves is no other run."""
    if not isinstance(node, Mapping) or node.get("_target_") not in FORMER_TARGETS.values():
        return node
    first = next(former for former, current in FORMER_TARGETS.items() if current == node["_target_"])
    return {**node, "_target_": first}


def _canonical(value: Any) -> Any:
    # train_fraction=1 and the file's 1.0 are the same run.
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def conf_dir() -> Path:
    """The checkout's conf/ if there is one, else the copy that the wheel carries."""
    package = Path(splitmix.__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"
