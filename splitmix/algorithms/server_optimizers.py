"""Server optimizers: how the server steps towards the average of the clients' updates.

The average of a round, less the server's value, is taken as the negative of a gradient: FedAvgM of Hsu, Qi, Brown,
"Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019 (arXiv 1909.06335),
and FedAdam, FedYogi and FedAdagrad of Reddi et al., "Adaptive Federated Optimization", ICLR 2021 (arXiv 2003.00295,
Algorithm 2). They act on parameters entry by entry, and on those alone that some client has trained in the round: the
other entries, and their moments, stay as they are. Running statistics are always the average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Tensors

FIRST, SECOND = "server_optimizer/first/", "server_optimizer/second/"
"""Prefixes of the moments' names in the server's memory."""


class ServerOptimizer(Protocol):
    """The settings of one option of the config group `server_optimizer`."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        ...

    def initial_memory(self, parameters: Tensors) -> Tensors:
        """The server's memory before the first round, by name; each as large as a parameter, `[base models, ...]`."""
        ...

    def step(self, parameters: Tensors, average: Tensors, trained: Tensors, memory: Tensors) -> tuple[Tensors, Tensors]:
        """One round's step.

        Args:
            parameters: the server's, `[base models, ...]`.
            average: of the clients' updates; where no client trained an entry, the server's value.
            trained: bool, broadcastable to each parameter: whether some client trained the entry.
            memory: the server's memory; entries that are not of this optimizer are ignored.

        Returns:
            The parameters of the next round, and what it remembers.
        """
        ...


@dataclass(frozen=True)
class NoServerOptimizer:
    """`server_optimizer=none`: the average itself is the next server."""

    name: ClassVar[str] = "none"

    def check(self) -> None:
        """Nothing can be wrong."""

    def initial_memory(self, parameters: Tensors) -> Tensors:
        return {}

    def step(self, parameters: Tensors, average: Tensors, trained: Tensors, memory: Tensors) -> tuple[Tensors, Tensors]:
        return average, {}


@dataclass(frozen=True)
class ServerMomentum:
    """`server_optimizer=momentum` (FedAvgM): m = momentum m + difference; server += lr m.

    Attributes:
        lr: the server's learning rate.
        momentum: in [0, 1); 0 with lr=1 is plain averaging.
    """

    name: ClassVar[str] = "momentum"

    lr: float = 1.0
    momentum: float = 0.9

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        check_lr(self.lr)
        check_decay("momentum", self.momentum)

    def initial_memory(self, parameters: Tensors) -> Tensors:
        return {FIRST + name: torch.zeros_like(value) for name, value in parameters.items()}

    def step(self, parameters: Tensors, average: Tensors, trained: Tensors, memory: Tensors) -> tuple[Tensors, Tensors]:
        stepped, moments = {}, {}
        for name, value in parameters.items():
            moment = self.momentum * memory[FIRST + name] + (average[name] - value)
            stepped[name] = torch.where(trained[name], value + self.lr * moment, value)
            moments[FIRST + name] = torch.where(trained[name], moment, memory[FIRST + name])
        return stepped, moments


@dataclass(frozen=True)
class AdaptiveServer:
    """What FedAdam, FedYogi and FedAdagrad share: server += lr m / (sqrt(v) + tau), without bias correction.

    m = beta1 m + (1 - beta1) difference; v starts at tau squared.

    Attributes:
        lr: the server's learning rate.
        beta1: decay of the first moment, in [0, 1).
        tau: degree of adaptivity, above 0: small values adapt more.
    """

    lr: float = 0.01
    beta1: float = 0.9
    tau: float = 0.001

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        check_lr(self.lr)
        check_decay("beta1", self.beta1)
        if not 0 < self.tau <= 1:
            raise UserError(f"server_optimizer.tau={shown(self.tau)}: give a value above 0 and up to 1")

    def second_moment(self, second: Tensor, difference: Tensor) -> Tensor:
        """v of this round."""
        raise NotImplementedError

    def initial_memory(self, parameters: Tensors) -> Tensors:
        first = {FIRST + name: torch.zeros_like(value) for name, value in parameters.items()}
        return first | {SECOND + name: torch.full_like(value, self.tau**2) for name, value in parameters.items()}

    def step(self, parameters: Tensors, average: Tensors, trained: Tensors, memory: Tensors) -> tuple[Tensors, Tensors]:
        stepped, moments = {}, {}
        for name, value in parameters.items():
            difference = average[name] - value
            first = self.beta1 * memory[FIRST + name] + (1 - self.beta1) * difference
            second = self.second_moment(memory[SECOND + name], difference)
            stepped[name] = torch.where(trained[name], value + self.lr * first / (second.sqrt() + self.tau), value)
            moments[FIRST + name] = torch.where(trained[name], first, memory[FIRST + name])
            moments[SECOND + name] = torch.where(trained[name], second, memory[SECOND + name])
        return stepped, moments


@dataclass(frozen=True)
class ServerAdam(AdaptiveServer):
    """`server_optimizer=adam` (FedAdam): v = beta2 v + (1 - beta2) difference squared.

    Attributes:
        lr, beta1, tau: see `AdaptiveServer`.
        beta2: decay of the second moment, in [0, 1).
    """

    name: ClassVar[str] = "adam"

    beta2: float = 0.99

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        super().check()
        check_decay("beta2", self.beta2)

    def second_moment(self, second: Tensor, difference: Tensor) -> Tensor:
        return self.beta2 * second + (1 - self.beta2) * difference**2


@dataclass(frozen=True)
class ServerYogi(ServerAdam):
    """`server_optimizer=yogi` (FedYogi): v = v - (1 - beta2) difference squared * sign(v - difference squared)."""

    name: ClassVar[str] = "yogi"

    def second_moment(self, second: Tensor, difference: Tensor) -> Tensor:
        square = difference**2
        return second - (1 - self.beta2) * square * torch.sign(second - square)


@dataclass(frozen=True)
class ServerAdagrad(AdaptiveServer):
    """`server_optimizer=adagrad` (FedAdagrad): v = v + difference squared."""

    name: ClassVar[str] = "adagrad"

    beta1: float = 0.0

    def second_moment(self, second: Tensor, difference: Tensor) -> Tensor:
        return second + difference**2


def check_lr(lr: float) -> None:
    """Raise UserError unless it is above 0 and at most 1000."""
    if not 0 < lr <= 1000:
        raise UserError(f"server_optimizer.lr={shown(lr)}: give a learning rate above 0 and up to 1000")


def check_decay(key: str, value: float) -> None:
    """Raise UserError unless it is in [0, 1)."""
    if not 0 <= value < 1:
        raise UserError(f"server_optimizer.{key}={shown(value)}: give a value from 0 up to, but not, 1")
