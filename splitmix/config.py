"""The top-level configuration: its schema, its checks, its hash, and where conf/ lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

import splitmix
from splitmix.binding import Trusted, bind, bind_fields, convert, nearest, shown
from splitmix.errors import UserError
from splitmix.widths import distinct

COMPONENTS = (
    "dataset", "partition", "budget", "algorithm", "model", "optimizer", "server_optimizer", "aggregation", "schedule",
    "engine", "logger", "test", "train_attack"
)  # fmt: skip
NO_SERVER_OPTIMIZER = {"_target_": "splitmix.algorithms.server_optimizers.NoServerOptimizer"}
MEAN = {"_target_": "splitmix.algorithms.aggregation.Mean"}
OPTIONAL: dict[str, Any] = {
    "resume": None,
    "validate_clients": None,
    "fit_data": False,
    "checkpoint_rounds": [],
    "train_attack": {"_target_": "splitmix.robustness.attacks.LinfPGD"},
    "server_optimizer": NO_SERVER_OPTIMIZER,
    "aggregation": MEAN,
}
"""What runs of earlier versions lack, and what it was."""

METRICS = ("accuracy", "balanced_accuracy", "f1", "calibration_error", "nll", "confusion_matrix")
"""What `test.metrics` may list; `accuracy` alone is what every test measures."""

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
        metrics: some of `METRICS`.
    """

    __test__: ClassVar[bool] = False  # the name is not a test's

    widths: tuple[float, ...] | str = "auto"
    adv_lambdas: tuple[float, ...] | str = "auto"
    bn: str = "trained"
    batch_size: int = 128
    sort_base_models: bool = False
    max_images: int | None = None
    metrics: tuple[str, ...] = ("accuracy",)

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
        if not self.metrics:
            raise UserError("test.metrics=[]: give at least one, such as accuracy")
        for name in self.metrics:
            if name not in METRICS:
                known = ", ".join(METRICS)
                raise UserError(f"test.metrics={name}: no such metric{nearest(name, METRICS)}; known: {known}")

    @property
    def asks_predictions(self) -> bool:
        """Whether the metrics need the prediction of every image."""
        return set(self.metrics) != {"accuracy"}

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
    aggregation: Any
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


def conf_dir() -> Path:
    """The checkout's conf/ if there is one, else the copy that the wheel carries."""
    package = Path(splitmix.__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"
