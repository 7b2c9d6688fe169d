"""FedProx and SCAFFOLD, against plain versions written out: on a quadratic, and on the digit CNN."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from splitmix.algorithms.base import Objective
from splitmix.algorithms.fedavg import FedAvg, FedAvgMethod
from splitmix.algorithms.fedprox import FedProx
from splitmix.algorithms.scaffold import CONTROL, Scaffold, ScaffoldMethod
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.schedules import Constant
from splitmix.models.network import LaneNetwork, NetworkSpec

EXACT = EngineSettings(lanes=4, workers=1, threads=1, precision="64-true")
CURVATURE = torch.tensor([[1.0, 4.0], [3.0, 0.5], [2.0, 2.0], [0.5, 3.0]], dtype=torch.float64)
CENTRE = torch.tensor([[1.0, -2.0], [-1.0, 0.5], [2.0, 2.0], [0.0, -3.0]], dtype=torch.float64)


class Point(LaneNetwork):
    """A point of the plane, which every lane moves; images are ignored."""

    def __init__(self, lanes):
        super().__init__(lanes)
        self.weight = nn.Parameter(torch.zeros(lanes, 2))

    def forward(self, images):
        return self.weight.unsqueeze(1).expand(-1, images.shape[0], -1)


@dataclass(frozen=True)
class PointModel:
    name: str = "point"
    bn: str = "batch"

    def check(self, input_shape, width):
        pass

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork:
        return Point(lanes)


class QuadraticMethod(FedAvgMethod):
    """Client i's loss is sum of a_i (w - b_i)^2 / 2."""

    def objective(self, network, batch):
        clients = list(batch.clients)
        loss = (CURVATURE[clients] * (network.weight - CENTRE[clients]) ** 2).sum(1) / 2
        return Objective(loss, loss.detach(), torch.zeros(len(clients)))


class QuadraticScaffoldMethod(ScaffoldMethod, QuadraticMethod):
    """SCAFFOLD on those losses."""


class Quadratic(FedAvg):
    def bind(self, model, problem):
        return QuadraticMethod(self, model, problem)


class QuadraticScaffold(Scaffold):
    def bind(self, model, problem):
        return QuadraticScaffoldMethod(self, model, problem)


def plain_scaffold(start, gradient, participants, clients, steps, lr, rounds):
    """Algorithm 1 of the paper, option II, global step 1, on dicts of tensors; returns the models of all rounds."""
    x = {name: value.clone() for name, value in start.items()}
    c = {name: torch.zeros_like(value) for name, value in x.items()}
    c_i = [{name: torch.zeros_like(value) for name, value in x.items()} for _ in range(clients)]
    models = []
    for number in range(rounds):
        chosen = participants(number)
        moves = {name: torch.zeros_like(value) for name, value in x.items()}
        changes = {name: torch.zeros_like(value) for name, value in x.items()}
        for i in chosen:
            y = {name: value.clone() for name, value in x.items()}
            for step in range(steps(number, i)):
                g = gradient(y, number, i, step)
                y = {name: y[name] - lr * (g[name] - c_i[i][name] + c[name]) for name in y}
            k = steps(number, i)
            new = {name: c_i[i][name] - c[name] + (x[name] - y[name]) / (k * lr) for name in x}
            for name in x:
                moves[name] += (y[name] - x[name]) / len(chosen)
                changes[name] += (new[name] - c_i[i][name]) / len(chosen)
            c_i[i] = new
        for name in x:
            x[name] = x[name] + moves[name]
            c[name] = c[name] + len(chosen) / clients * changes[name]
        models.append({name: value.clone() for name, value in x.items()})
    return models


def rounds_of(fed, rounds):
    states = [fed.initial_state()]
    for _ in range(rounds):
        states.append(fed.run_round(states[-1])[0])
    return states[1:]


@pytest.mark.parametrize("per_round", [None, 2])
def test_scaffold_is_the_plain_version_on_a_quadratic(federation, per_round):
    from splitmix.federation.sampling import participants

    fed = federation(
        QuadraticScaffold(), PointModel(), optimizer=SGD(0.05, 0.0, 0.0), schedule=Constant(), rounds=8, engine=EXACT,
        clients_per_round=per_round,
    )  # fmt: skip
    expected = plain_scaffold(
        {"weight": torch.zeros(2, dtype=torch.float64)},
        lambda y, number, i, step: {"weight": CURVATURE[i] * (y["weight"] - CENTRE[i])},
        lambda number: participants(fed.seed, number, 4, per_round),
        4,
        lambda number, i: len(fed.batches(i, number)),
        0.05,
        8,
    )
    for state, model in zip(rounds_of(fed, 8), expected, strict=True):
        torch.testing.assert_close(state.tensors["weight"][0].double(), model["weight"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_scaffold_finds_the_optimum_of_unlike_clients_and_fedavg_does_not(federation):
    optimum = (CURVATURE * CENTRE).sum(0) / CURVATURE.sum(0)
    distances = []
    for algorithm in (Quadratic(), QuadraticScaffold()):
        fed = federation(algorithm, PointModel(), optimizer=SGD(0.1, 0.0, 0.0), schedule=Constant(), engine=EXACT)
        distances.append(float((rounds_of(fed, 60)[-1].tensors["weight"][0] - optimum).norm()))
    assert distances[1] < 1e-3 < 0.05 < distances[0]


@pytest.mark.slow
def test_scaffold_is_the_plain_version_on_the_digit_cnn(federation):
    fed = federation(Scaffold(0.125), optimizer=SGD(0.05, 0.0, 0.0), schedule=Constant(), engine=EXACT)
    state, train = fed.initial_state(), fed.dataset.train
    network = fed.method.spec.build(1).double()
    start = {name: value.double() for name, value in fed.method.parameters(state.tensors).items()}

    def gradient(y, number, i, step):
        rows = fed.batches(i, number)[step]
        leaves = {name: value.requires_grad_() for name, value in copy.deepcopy(y).items()}
        logits = functional_call(network.train(), leaves, (train.images[rows].double() / 255,))[0]
        loss = nn.functional.cross_entropy(logits, train.labels[rows])
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    expected = plain_scaffold(
        start, gradient, lambda number: range(4), 4, lambda number, i: len(fed.batches(i, number)), 0.05, 3
    )
    for after, model in zip(rounds_of(fed, 3), expected, strict=True):
        for name, value in model.items():
            torch.testing.assert_close(after.tensors[name].double(), value, rtol=1e-3, atol=2e-5)
    assert any(float(after.server[CONTROL + name].abs().max()) > 1e-3 for name in start)


def test_scaffold_moves_twice_the_bytes_each_way(federation):
    plain, controlled = (federation(algorithm) for algorithm in (FedAvg(0.125), Scaffold(0.125)))
    metrics = [fed.run_round(fed.initial_state())[1] for fed in (plain, controlled)]
    assert metrics[1].bytes_up == metrics[1].bytes_down == 2 * metrics[0].bytes_up


def test_what_no_client_did_changes_no_control_variate(federation):
    fed = federation(Scaffold(0.125), clients_per_round=1)
    state = fed.run_round(fed.initial_state())[0]
    moved = [bool(state.clients[f"{CONTROL}conv1.weight"][client].any()) for client in range(4)]
    assert sum(moved) == 1


@pytest.mark.parametrize("adv_lambda", [0.0, 0.5])
def test_fedprox_with_mu_0_is_fedavg(federation, adv_lambda):
    algorithms = FedAvg(0.125, adv_lambda=adv_lambda), FedProx(0.125, adv_lambda=adv_lambda, mu=0.0)
    states = [rounds_of(federation(algorithm), 2)[-1].tensors for algorithm in algorithms]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_fedprox_pulls_every_step_towards_the_start(federation):
    """Against steps written out, on two clients of different numbers of batches, and for every lane alone."""
    lr, mu = 0.05, 3.0
    fed = federation(FedProx(0.125, mu=mu), optimizer=SGD(lr, 0.0, 0.0), schedule=Constant(), engine=EXACT)
    state, train = fed.initial_state(), fed.dataset.train
    start = {name: value.double() for name, value in fed.method.parameters(state.tensors).items()}
    network = fed.method.spec.build(1).double().train()
    total = {name: torch.zeros_like(value) for name, value in start.items()}
    n_all = sum(len(client.train) for client in fed.clients)
    for i, client in enumerate(fed.clients):
        y = {name: value.clone() for name, value in start.items()}
        for rows in fed.batches(i, 0):
            leaves = {name: value.clone().requires_grad_() for name, value in y.items()}
            logits = functional_call(network, leaves, (train.images[rows].double() / 255,))[0]
            loss = nn.functional.cross_entropy(logits, train.labels[rows])
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            y = {
                name: value - lr * (gradient + mu * (value - start[name]))
                for (name, value), gradient in zip(y.items(), gradients, strict=True)
            }
        total = {name: value + y[name] * len(client.train) / n_all for name, value in total.items()}
    after = fed.run_round(state)[0].tensors
    for name, value in total.items():
        torch.testing.assert_close(after[name].double(), value, rtol=1e-3, atol=2e-5)


def test_a_wrong_mu_is_named(federation):
    for mu in (-1.0, float("nan")):
        with pytest.raises(UserError, match=r"algorithm\.mu="):
            federation(replace(FedProx(0.125), mu=mu))
