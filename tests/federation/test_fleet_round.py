"""Simulated fleets: who is left out, what a round takes, and the deployment that loses the same clients."""

from dataclasses import replace

import pytest
import torch
from fleets import deploy, nodes_of, noise_tree, run_words, simulate

from splitmix.algorithms.fedavg import FedAvg
from splitmix.deploy.messages import unpacked
from splitmix.errors import UserError
from splitmix.federation.fleet_round import FleetRounds, loads_of
from splitmix.fleet import Fleet, FleetClient
from splitmix.runs.checkpoint import read_content
from splitmix.runs.metrics import read_metrics

BUDGETS = (0.125, 0.25, 0.5, 1.0)


def fleet(*changes, **settings):
    """Four clients of ascending budget whose base models take a second each; `changes` are of one client each."""
    clients = [FleetClient(f"d{n}", "x", budget, (1.0,)) for n, budget in enumerate(BUDGETS)]
    for number, change in changes:
        clients[number] = replace(clients[number], **change)
    return Fleet(tuple(clients), **{"batch_size": 8, **settings})


def test_seconds_are_those_of_the_base_models_and_images_of_each_client(federation):
    fed = federation(budget=fleet((3, {"start_seconds": 0.5})))
    images = [len(client.train) for client in fed.clients]
    assert fed.budgets == BUDGETS
    expected = [images[n] / 8 * count + (0.5 if n == 3 else 0) for n, count in enumerate((1, 2, 4, 8))]
    assert fed.fleet_rounds.seconds == pytest.approx(expected)
    round_ = fed.fleet_rounds.round(0, range(4))
    assert round_.seconds == pytest.approx(expected[3]) and round_.answered == (0, 1, 2, 3)
    assert fed.fleet_rounds.seconds_of(3, None) == pytest.approx(3 * expected[3])
    small = federation(FedAvg(0.125), budget=fleet())
    assert small.fleet_rounds.seconds == pytest.approx([count / 8 for count in images])
    wide = loads_of(federation(FedAvg(0.25), budget=fleet()).method, {1.0}, 0.125)[1.0]
    assert 2 < wide < 5  # a network of twice the width has up to four times as many operations


def test_late_and_absent_clients_are_left_out_and_leave_no_trace(federation):
    fed = federation(budget=fleet((0, {"absent": (1,)}), round_seconds=20))
    images = len(fed.clients[3].train)
    assert images * 8 / 8 > 20  # the widest takes longer than the round
    after, metrics = fed.run_round(fed.initial_state())
    assert metrics.fleet.asked == (1, 2, 3) and metrics.fleet.answered == (1, 2) and metrics.fleet.seconds == 20
    assert metrics.fleet.metrics == {"simulated_s": 20, "clients_asked": 3, "clients_in_time": 2}
    each = fed.method.upload_entries(0.125) * 4
    assert (metrics.bytes_down, metrics.bytes_up) == ((2 + 4 + 8) * each, (2 + 4) * each)
    assert "client d3 takes" in fed.fleet_rounds.notes[0] and "always left out" in fed.fleet_rounds.notes[0]
    # The same as a federation in which the others alone were drawn.
    fast = federation(budget=fleet())
    state = fast.initial_state()
    tasks = [task for task in fast.method.plan(state, range(4), fast.seed) if task.client in (1, 2)]
    weights = [float(len(fast.clients[task.client].train)) for task in tasks]
    aggregate = fast.method.no_updates(state)
    lr = fast.optimizer.lr * fast.schedule.factor(0, fast.rounds)
    for trained in fast.engine.train(state, tasks, [fast.batches(t.client, 0) for t in tasks], weights, lr):
        aggregate = fast.method.accumulate(aggregate, trained.update)
    for name, value in fast.method.finalise(state, aggregate).tensors.items():
        assert torch.equal(value, after.tensors[name])
    assert fed.run_round(after)[1].fleet.asked == (0, 1, 2, 3)


def test_drop_outs_and_stragglers_follow_from_seed_and_round(federation):
    slow = {"drop_out": 0.25, "straggler": 4.0}
    settings = fleet(*[(n, slow) for n in range(4)], round_seconds=1e6)
    method = federation(budget=settings).method
    one, same, other = (FleetRounds(settings, method, [8] * 4, seed) for seed in (1, 1, 2))
    rounds = [one.round(number, range(4)) for number in range(200)]
    assert rounds[7] == same.round(7, range(4)) and rounds != [other.round(n, range(4)) for n in range(200)]
    missing = sum(4 - len(round_.asked) for round_ in rounds) / 800
    assert missing == pytest.approx(0.25, abs=0.05)
    factors = [one.took(0, number) for number in range(200)]
    assert 1 <= min(factors) < 1.1 and 3.6 < max(factors) <= 4
    assert sorted(factors)[100] == pytest.approx(2, abs=0.3)  # the middle on a log scale


def test_too_few_answers_repeat_the_round_and_then_stop(federation):
    fed = federation(budget=fleet((3, {"absent": (1,)}), min_clients=4, attempts=2))
    with pytest.raises(UserError, match=r"round 1: of 4 clients .* fewer than min_clients=4 .* in 2 attempts"):
        fed.run_round(fed.initial_state())
    often = fleet(*[(n, {"drop_out": 0.5}) for n in range(4)], min_clients=3, attempts=50, round_seconds=1e6)
    rounds = FleetRounds(often, fed.method, [8] * 4, 1)
    some = [rounds.round(number, range(4)) for number in range(20)]
    assert all(len(round_.answered) >= 3 for round_ in some) and max(round_.seconds for round_ in some) > 8


def test_without_speeds_no_time_is_told(federation):
    unknown = [(number, {"step_seconds": ()}) for number in range(4)]
    fed = federation(budget=fleet(*unknown, (2, {"step_seconds": (), "absent": (1,)})))
    assert fed.fleet_rounds.round(0, range(4)).metrics == {"clients_asked": 3, "clients_in_time": 3}
    assert fed.fleet_rounds.seconds_of(5, None) is None


@pytest.mark.slow
def test_a_deployment_that_loses_a_client_ends_as_the_simulation_that_declares_it(tmp_path):
    root = noise_tree(tmp_path / "images")
    resolved = run_words(root, "clients_per_domain=1", "model.bn=tracked", "budget.widths=2-1", "rounds=3")
    nodes = nodes_of(root, tmp_path / "memory", ("0-0", "1-0"))

    def dies(request):
        content = unpacked(request)
        if content["kind"] == "train" and content["task"]["round"] == 1:
            raise RuntimeError("the device is gone")
        return nodes[101].answer(request)

    deploy(resolved, tmp_path / "deployed", {**nodes, 101: dies})
    clients = [{"id": "0-0", "domain": "a", "budget": 0.5}, {"id": "1-0", "domain": "b", "budget": 1.0, "absent": [2]}]
    declared = {**resolved, "fleet": {"clients": clients}}
    simulate(declared, tmp_path / "simulated")
    simulated, deployed = (
        read_content(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("simulated", "deployed")
    )
    for name, value in simulated["tensors"].items():
        assert torch.equal(value, deployed["tensors"][name]), name
    assert [row["clients_in_time"] for row in read_metrics(tmp_path / "simulated" / "metrics.csv")] == [2, 1, 2]
