"""What the settings of an algorithm are, and checks of a bound method: the level of robustness, the aggregation."""

from __future__ import annotations

from typing import Protocol

from splitmix.algorithms.aggregation import Mean
from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Model


class Algorithm(Protocol):
    """The settings of one option of the config group `algorithm`."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        ...

    def bind(self, model: Model, problem: Problem) -> Method:
        """Check the settings against the model and the problem (UserError) and return the method."""
        ...


def check_adv_lambda(method: Method, adv_lambda: float, key: str = "adv_lambda") -> None:
    """Raise UserError for a level outside [0, 1], or one that this method cannot give in situ."""
    if not 0 <= adv_lambda <= 1:
        raise UserError(f"{key}={shown(adv_lambda)}: give a value from 0 to 1")
    if adv_lambda and len(method.adv_lambdas) == 1:
        raise UserError(
            f"{key}={shown(adv_lambda)}: the run was trained without dual batch normalisation, only 0 is possible;"
            " train with algorithm.adv_lambda between 0 and 1, or algorithm=fedavg_oat"
        )


def check_aggregation(method: Method) -> None:
    """Raise UserError if a robust rule is asked of a method whose updates are not whole base models."""
    rule, merges_itself = method.problem.aggregation, type(method).accumulate is not Method.accumulate
    if merges_itself and not isinstance(rule, Mean):
        raise UserError(
            f"aggregation={rule.name}: algorithm={method.name} does not average whole base models by themselves; use"
            " aggregation=mean, or algorithm=splitmix or fedavg"
        )
