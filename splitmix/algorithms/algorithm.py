"""What the settings of an algorithm are, how a method is bound without data, and checks of a bound method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from splitmix.algorithms.aggregation import Mean
from splitmix.algorithms.base import Budget, ImageShapes, Problem
from splitmix.algorithms.method import Method
from splitmix.algorithms.server_optimizers import NoServerOptimizer
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Model
from splitmix.robustness.attacks import Attack


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


def method_of(
    dataset: ImageShapes,
    budget: Budget,
    budgets: Sequence[float],
    algorithm: Algorithm,
    model: Model,
    attack: Attack,
    image_size: int | None,
) -> Method:
    """The method of a federation of these budgets, on images of the dataset's shape or of `image_size`, without data.

    Args:
        budget: the rule by which clients got their budgets.
        budgets: of all clients.

    Raises:
        UserError: the algorithm does not fit the model, the images or the budgets.
    """
    problem = Problem.of(dataset, budget, budgets, False, attack, NoServerOptimizer())
    channels, height, width = problem.input_shape
    shape = (channels, image_size or height, image_size or width)
    return algorithm.bind(model, replace(problem, input_shape=shape))


def check_adv_lambda(method: Method, adv_lambda: float, key: str = "adv_lambda") -> None:
    """Raise UserError for a level outside [0, 1], or one that this method cannot give in situ."""
    if not 0 <= adv_lambda <= 1:
        raise UserError(f"{key}={shown(adv_lambda)}: give a value from 0 to 1")
    if adv_lambda and len(method.adv_lambdas) == 1:
        raise UserError(
            f"{key}={shown(adv_lambda)}: the run was trained without dual batch normalisation, only 0 is possible;"
            " train with algorithm.adv_lambda between 0 and 1, or algorithm=fedavg_oat"
        )


def check_malicious(method: Method) -> None:
    """Raise UserError if the attack of malicious clients needs base models, pixels or classes that are not there."""
    problem, mixed = method.problem, method.base_models if method.mixes else 0
    problem.malicious.check_fits(method.called, mixed, problem.input_shape, problem.classes)


def check_aggregation(method: Method) -> None:
    """Raise UserError if a robust rule is asked of a method whose updates are not whole base models."""
    rule, merges_itself = method.problem.aggregation, type(method).accumulate is not Method.accumulate
    if merges_itself and not isinstance(rule, Mean):
        raise UserError(
            f"aggregation={rule.name}: {method.called} does not average base models of one width by themselves; use"
            " aggregation=mean, or algorithm=splitmix with algorithm.atom_width, or fedavg"
        )
