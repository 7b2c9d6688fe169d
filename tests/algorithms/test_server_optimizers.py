"""Server optimizers, against the equations of Reddi et al. (2021) written out for one number."""

import math

import pytest
import torch

from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.server_optimizers import (
    FIRST,
    NoServerOptimizer,
    ServerAdagrad,
    ServerAdam,
    ServerMomentum,
    ServerYogi,
)
from splitmix.algorithms.splitmix import SplitMix
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.federation.sampling import participants

DIFFERENCES = [0.5, -0.25, 0.0, 1.0]


def stepped(optimizer):
    """A server of one number after each of the rounds whose clients move it by these differences."""
    parameters = {"w": torch.zeros(1, 1, dtype=torch.float64)}
    memory = optimizer.initial_memory(parameters)
    values = []
    for difference in DIFFERENCES:
        average = {"w": parameters["w"] + difference}
        parameters, memory = optimizer.step(parameters, average, {"w": torch.tensor([[True]])}, memory)
        values.append(float(parameters["w"]))
    return values


def written_out(kind, lr=0.1, beta1=0.9, beta2=0.99, tau=0.01):
    x, m, v, values = 0.0, 0.0, tau**2, []
    for d in DIFFERENCES:
        m = beta1 * m + (1 - beta1) * d
        if kind == "adam":
            v = beta2 * v + (1 - beta2) * d**2
        elif kind == "yogi":
            v = v - (1 - beta2) * d**2 * math.copysign(1, v - d**2) * (v != d**2)
        else:
            v += d**2
        x += lr * m / (math.sqrt(v) + tau)
        values.append(x)
    return values


def test_the_equations():
    assert stepped(ServerAdam(0.1, tau=0.01)) == pytest.approx(written_out("adam"))
    assert stepped(ServerYogi(0.1, tau=0.01)) == pytest.approx(written_out("yogi"))
    assert stepped(ServerAdagrad(0.1, tau=0.01)) == pytest.approx(written_out("adagrad", beta1=0.0))
    m, x, values = 0.0, 0.0, []
    for d in DIFFERENCES:
        m = 0.5 * m + d
        x += 0.1 * m
        values.append(x)
    assert stepped(ServerMomentum(0.1, 0.5)) == pytest.approx(values)
    assert stepped(NoServerOptimizer()) == pytest.approx([sum(DIFFERENCES[: n + 1]) for n in range(4)])


@pytest.mark.parametrize("algorithm", [SplitMix(), HeteroFL()])
def test_momentum_0_at_lr_1_is_plain_averaging(federation, algorithm):
    states = []
    for optimizer in (NoServerOptimizer(), ServerMomentum(1.0, 0.0)):
        fed = federation(algorithm, server_optimizer=optimizer)
        states.append(fed.run_round(fed.initial_state())[0].tensors)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", [ServerAdam(), ServerYogi(), ServerAdagrad(), ServerMomentum()])
def test_what_nobody_trained_stays_with_its_moments(federation, optimizer):
    """Whole base models of Split-Mix, and entries outside every slice of HeteroFL."""
    fed, client = with_a_narrow_participant(federation, SplitMix(), optimizer)
    before = fed.initial_state()
    [task] = fed.method.plan(before, [client], fed.seed)
    state = fed.run_round(before)[0]
    trained = [base_model in task.base_models for base_model in range(8)]
    assert sum(trained) == 1
    assert trained == [
        bool((state.tensors["fc3.bias"][row] != before.tensors["fc3.bias"][row]).any()) for row in range(8)
    ]
    assert trained == [bool(state.server[f"{FIRST}fc3.bias"][row].any()) for row in range(8)]
    fed, client = with_a_narrow_participant(federation, HeteroFL(), optimizer)
    before = fed.initial_state()
    units = int(fed.budgets[client] * 64)
    state = fed.run_round(before)[0]
    weight, moment = state.tensors["conv1.weight"][0], state.server[f"{FIRST}conv1.weight"][0]
    assert moment[:units].any() and not moment[units:].any()
    assert torch.equal(weight[units:], before.tensors["conv1.weight"][0, units:])


def with_a_narrow_participant(federation, algorithm, optimizer):
    """A federation of budgets 1/8 and 1 whose only participant in the first round has 1/8; and that client."""
    for seed in range(1, 20):
        fed = federation(algorithm, budget=Groups("8-1"), clients_per_round=1, server_optimizer=optimizer, seed=seed)
        [client] = participants(seed, 0, 4, 1)
        if fed.budgets[client] == 0.125:
            return fed, client
    raise AssertionError("no seed draws a narrow client")


@pytest.mark.parametrize(
    ("optimizer", "key"),
    [
        (ServerAdam(lr=0.0), "server_optimizer.lr=0"),
        (ServerMomentum(momentum=1.0), "server_optimizer.momentum=1"),
        (ServerYogi(beta2=-0.1), "server_optimizer.beta2=-0.1"),
        (ServerAdagrad(tau=0.0), "server_optimizer.tau=0"),
        (ServerAdam(beta1=float("nan")), "server_optimizer.beta1=nan"),
    ],
)
def test_mistakes_are_named(federation, optimizer, key):
    with pytest.raises(UserError, match=key):
        federation(server_optimizer=optimizer)
