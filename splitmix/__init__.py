"""Split-Mix federated learning: one federation, trained once, customised in situ to any width and robustness.

The names below are the library's front door; they are imported when first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splitmix.algorithms.splitmix import SplitMix
    from splitmix.algorithms.values import ServerState
    from splitmix.bundle.elastic import ElasticModel
    from splitmix.data.minidigits import MiniDigits
    from splitmix.data.partition import Uniform
    from splitmix.engine.optimizers import SGD, Adam
    from splitmix.engine.settings import EngineSettings
    from splitmix.errors import UserError
    from splitmix.evaluation.customize import customize
    from splitmix.federation.budgets import Groups
    from splitmix.federation.federation import Federation
    from splitmix.federation.schedules import Constant, Cosine, MultiStep
    from splitmix.models.digit_cnn import DigitCNN
    from splitmix.runs.loaded import load

__version__ = "0.1.0"

_HOMES = {
    "SGD": "engine.optimizers",
    "Adam": "engine.optimizers",
    "Constant": "federation.schedules",
    "Cosine": "federation.schedules",
    "DigitCNN": "models.digit_cnn",
    "ElasticModel": "bundle.elastic",
    "EngineSettings": "engine.settings",
    "Federation": "federation.federation",
    "Groups": "federation.budgets",
    "MiniDigits": "data.minidigits",
    "MultiStep": "federation.schedules",
    "ServerState": "algorithms.values",
    "SplitMix": "algorithms.splitmix",
    "Uniform": "data.partition",
    "UserError": "errors",
    "customize": "evaluation.customize",
    "load": "runs.loaded",
}

__all__ = [
    "SGD",
    "Adam",
    "Constant",
    "Cosine",
    "DigitCNN",
    "ElasticModel",
    "EngineSettings",
    "Federation",
    "Groups",
    "MiniDigits",
    "MultiStep",
    "ServerState",
    "SplitMix",
    "Uniform",
    "UserError",
    "customize",
    "load",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'splitmix' has no attribute {name!r}")
    return getattr(import_module(f"splitmix.{_HOMES[name]}"), name)
