"""Split-Mix with base models of unequal widths: what it equals, who trains what, what is merged, mixed and refused."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import EXACT, after, check_every_path_is_one_lane_at_a_time

from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.server_optimizers import ServerMomentum
from splitmix.algorithms.splitmix import SplitMix, SplitMixMethod
from splitmix.algorithms.unequal import UnequalMethod, draw_shares
from splitmix.algorithms.values import ClientTask, Update
from splitmix.errors import UserError
from splitmix.evaluation.cost import cost, lane_cost
from splitmix.evaluation.customize import customize
from splitmix.federation.budgets import Groups
from splitmix.federation.client import ClientModule
from splitmix.federation.fleet_round import loads_of
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import lane_entries, lane_template
from splitmix.models.side_by_side import entry
from splitmix.models.vit import ViT
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SHAPE = (3, 8, 8)
WIDTHS = (0.125, 0.125, 0.25, 0.5)


@dataclass(frozen=True)
class Forced(SplitMix):
    """Side by side even where all base models are of one width."""

    def bind(self, model, problem):
        return UnequalMethod(self, model, problem)


def bound(base_widths=WIDTHS, budgets=(0.125, 0.25, 0.5, 1.0), model=None, problem=None, **settings):
    problem = Problem(SHAPE, 10, tuple(budgets), **(problem or {}))
    return SplitMix(base_widths=base_widths, **settings).bind(model or DigitCNN(), problem)


def test_equal_base_widths_are_the_papers_method_bit_for_bit(federation):
    one, other = (
        federation(algorithm, budget=Groups("4-4-2-1"))
        for algorithm in (SplitMix(base_widths=(0.25,) * 4), SplitMix(atom_width=0.25))
    )
    assert type(one.method) is SplitMixMethod and one.method == other.method
    (first, metrics), (second, others) = after(one, 1), after(other, 1)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
    assert (metrics.loss, metrics.bytes_up) == (others.loss, others.bytes_up)


@pytest.mark.parametrize("width", [0.25, pytest.param(1.0, marks=pytest.mark.slow)])
def test_one_base_model_is_fedavg(federation, width):
    plain = {"rescale_init": False, "rescale_layer": False}
    (first, metrics), (second, others) = (
        after(federation(algorithm, budget=Groups(f"{1 / width:g}"), engine=EXACT))
        for algorithm in (Forced(base_widths=(width,), **plain), FedAvg(width=width))
    )
    assert first.tensors.keys() == {entry(0, name) for name in second.tensors}
    for name, value in second.tensors.items():
        torch.testing.assert_close(first.tensors[entry(0, name)], value, rtol=1e-5, atol=1e-6, msg=name)
    assert (metrics.loss, metrics.accuracy) == pytest.approx((others.loss, others.accuracy), rel=1e-5)
    assert metrics.bytes_up == others.bytes_up


@pytest.mark.parametrize("temperature", [None, "auto"])
def test_side_by_side_computes_what_lanes_compute(federation, temperature):
    """All clients train all four base models of width 1/4, from the same weights."""
    lanes, beside = (
        federation(algorithm, budget=Groups("1"), engine=EXACT)
        for algorithm in (
            SplitMix(atom_width=0.25, loss_temperature=temperature),
            Forced(base_widths=(0.25,) * 4, loss_temperature=temperature),
        )
    )
    start = lanes.initial_state()

    def side_by_side(tensors):
        return {entry(base, name): value[base : base + 1] for name, value in tensors.items() for base in range(4)}

    state, metrics = lanes.run_round(start)
    other, others = beside.run_round(replace(beside.initial_state(), tensors=side_by_side(start.tensors)))
    for name, value in side_by_side(state.tensors).items():
        torch.testing.assert_close(other.tensors[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert (metrics.loss, metrics.accuracy) == pytest.approx((others.loss, others.accuracy), rel=1e-5)
    assert metrics.bytes_up == others.bytes_up
    torch.testing.assert_close(lanes.test(state, [0.25, 0.75]).per_client, beside.test(other, [0.25, 0.75]).per_client)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "model"),
    [
        (SplitMix(base_widths=WIDTHS), DigitCNN()),
        (SplitMix(base_widths=WIDTHS, adv_lambda=0.5), DigitCNN(bn="tracked")),
        (SplitMix(base_widths=WIDTHS), ViT(heads=8, head_size=4)),
    ],
)
def test_packed_and_shared_out_lanes_equal_one_at_a_time(federation, algorithm, model):
    budget = Groups("8-4-4-1", redraw="round")
    check_every_path_is_one_lane_at_a_time(
        lambda engine: federation(algorithm, model, budget=budget, clients_per_domain=3, engine=engine)
    )


def test_interrupted_and_resumed_equals_straight(federation, tmp_path: Path):
    fed = federation(SplitMix(base_widths=WIDTHS), budget=Groups(redraw="round"))
    straight, _ = after(fed, 2)
    save_checkpoint(tmp_path / "c.ckpt", Checkpoint(after(fed, 1)[0], 0, 0.5, 1.0))
    state, _ = fed.run_round(load_checkpoint(tmp_path / "c.ckpt", fed.method).state)
    assert state.tensors.keys() == straight.tensors.keys()
    assert all(torch.equal(value, straight.tensors[name]) for name, value in state.tensors.items())


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), round_index=st.integers(0, 50))
def test_a_client_trains_distinct_base_models_until_no_other_fits(seed, round_index):
    method = bound()
    for client, budget in enumerate(method.problem.budgets):
        members = method.draw(round_index, 4 * round_index + client, client, seed)
        assert len(set(members)) == len(members) and list(members) == sorted(members)
        trained = sum(WIDTHS[base] for base in members)
        left = [width for base, width in enumerate(WIDTHS) if base not in members]
        assert trained <= budget and all(trained + width > budget for width in left)


def test_budgets_that_are_redrawn_bound_what_is_trained():
    method = bound(problem={"redrawn": True})
    for client in range(4):
        drawn = [method.draw(number, number, client, 3) for number in range(30)]
        budgets = [method.problem.budget(client, number, 3) for number in range(30)]
        assert all(sum(WIDTHS[b] for b in d) <= budget for d, budget in zip(drawn, budgets, strict=True))
        assert len(set(budgets)) == 4


def test_how_often_a_budget_trains_which_widths():
    """By hand: of four base models each is first as often; beside 1/8 come 1/8 and 1/4 in either order, never 1/2."""
    half = draw_shares(WIDTHS, 0.5)
    assert half == pytest.approx({(0.5,): 1 / 4, (0.125, 0.125, 0.25): 3 / 4})
    assert draw_shares(WIDTHS, 0.25) == pytest.approx({(0.25,): 1 / 3, (0.125, 0.125): 2 / 3})
    assert draw_shares(WIDTHS, 0.125) == pytest.approx({(0.125,): 1})
    assert draw_shares(WIDTHS, 1.0) == pytest.approx({WIDTHS: 1})
    method = bound()
    counts = Counter(tuple(WIDTHS[b] for b in method.draw(number, number, 1, 7)) for number in range(3000))
    # 2000 of 3000 draws, standard deviation 26.
    assert counts.keys() == {(0.25,), (0.125, 0.125)} and abs(counts[0.125, 0.125] - 2000) < 110


def test_every_base_model_is_averaged_over_the_clients_that_trained_it():
    """Client c, with weight c + 1, sends c + 1 everywhere; what nobody trained stays."""
    method = bound(budgets=(0.25, 0.25, 0.25, 1.0))
    state = method.initial_state(0)
    tasks = [method.download(state, task) for task in method.plan(state, [0, 1, 2], 5)]
    updates = [
        Update(task, task.client + 1.0, {name: torch.full_like(v, task.client + 1) for name, v in task.tensors.items()})
        for task in tasks
    ]
    trainers = {base: [t.client + 1 for t in tasks if base in t.settings["members"]] for base in range(4)}
    assert not trainers[3] and any(trainers.values())
    merged = method.merge(state, updates)
    for name, value in merged.tensors.items():
        weights = trainers[int(name.split(".")[1])]
        mean = sum(w * w for w in weights) / sum(weights) if weights else state.tensors[name]
        torch.testing.assert_close(value, torch.zeros_like(value) + mean, msg=name)
    assert merged.tensors.keys() == state.tensors.keys() and merged.round == 1


def test_what_travels_is_what_the_base_models_are():
    method = bound()
    state = method.initial_state(0)
    assert state.tensors.keys() == lane_template(method.server_network, 1).keys()
    for planned in method.plan(state, range(4), 0):
        task = method.download(state, planned)
        assert {name: value.shape for name, value in task.tensors.items()} == {
            name: value.shape for name, value in lane_template(task.spec, 1).items()
        }
        for place, base in enumerate(task.settings["members"]):
            assert torch.equal(task.tensors[entry(place, "fc3.weight")], state.tensors[entry(base, "fc3.weight")])
        sent = planned.to_dict()
        sent = {**sent, "spec": {**sent["spec"], "members": list(sent["spec"]["members"])}}
        assert ClientTask.from_dict(sent, method.model) == planned
        bare = replace(planned, settings={})  # as the engine makes one up to time it
        assert method.download(state, bare).tensors.keys() == task.tensors.keys()


def test_bytes_and_macs_are_those_of_an_average_draw():
    method = bound()
    one = {width: method.base_network(width) for width in WIDTHS}
    entries = {width: lane_entries(spec) for width, spec in one.items()}
    macs = {width: lane_cost(spec)[0] for width, spec in one.items()}
    # See test_how_often_a_budget_trains_which_widths.
    assert method.upload_entries(1.0) == entries[0.5] + entries[0.25] + 2 * entries[0.125]
    assert method.upload_entries(0.25) == round(entries[0.25] / 3 + 2 * 2 * entries[0.125] / 3)
    load = sum(lane_cost(spec)[0] * times for spec, times in method.training_load(0.5))
    assert load == pytest.approx(macs[0.5] / 4 + 3 * (macs[0.25] + 2 * macs[0.125]) / 4)
    assert loads_of(method, {0.5}, 0.125)[0.5] == pytest.approx(load / macs[0.125])
    assert cost(method, method.initial_state(0), 0.25)[0] == pytest.approx(2 * macs[0.125])


def test_the_model_of_a_width_is_the_mean_of_the_first_base_models(federation):
    fed = federation(SplitMix(base_widths=WIDTHS))
    state, _ = after(fed, 1)
    assert fed.method.widths == (0.125, 0.25, 0.5, 1.0)
    images, logits = torch.rand(5, *SHAPE), []
    for base, width in enumerate(WIDTHS):
        network = fed.method.base_network(width).build(1).eval()
        network.load_lanes({name: state.tensors[entry(base, name)] for name in network.state_dict()})
        logits.append(network(images)[0])
        expected = torch.stack(logits).mean(0)
        torch.testing.assert_close(customize(fed.method, state, fed.method.widths[base])(images), expected)
    client = ClientModule(fed.method, fed.method.network(0.25).build(1), fed.optimizer)
    client.set_width(0.125)
    assert client(images).shape == (5, 10)
    with pytest.raises(UserError, match=r"width 0\.5: this client holds 1 x digit_cnn x0\.125\+0\.125"):
        client.set_width(0.5)


def test_levels_of_robustness_and_a_server_optimizer():
    dual = bound(adv_lambda=0.5, model=DigitCNN(bn="tracked"), problem={"server_optimizer": ServerMomentum()})
    assert dual.adv_lambdas[-1] == 1 and dual.ra_weight == 0.5 and dual.notes
    state = dual.initial_state(0)
    [task] = [dual.download(state, task) for task in dual.plan(state, [1], 0)]
    moved = Update(task, 1.0, {name: value + 1 for name, value in task.tensors.items()})
    after = dual.merge(state, [moved])
    trained = {entry(base, "conv1.weight") for base in task.settings["members"]}
    for base in range(4):
        name = entry(base, "conv1.weight")
        assert torch.equal(after.tensors[name], state.tensors[name]) == (name not in trained)
    counter = "bn1.clean.num_batches_tracked"
    assert [after.tensors[entry(base, counter)].item() for base in range(4)] == [
        int(base in task.settings["members"]) for base in range(4)
    ]


@pytest.mark.parametrize(
    ("base_widths", "words"),
    [
        ((), r"base_widths=\[\]: give widths above 0"),
        ((0.5, 0.0, 0.5), r"base_widths=\[0\.5,0,0\.5\]: give widths above 0 and up to 1"),
        ((0.125, 0.5), r"add up to 0\.625; give widths that add up to the largest budget, 1"),
        ((0.25, 0.75), r"budget\.widths has 0\.125, below algorithm\.base_widths=\[0\.25,0\.75\]: .* up to 0\.125"),
    ],
)
def test_widths_that_do_not_fit_are_refused(base_widths, words):
    with pytest.raises(UserError, match=words):
        bound(base_widths)


def test_other_mistakes_are_refused():
    with pytest.raises(UserError, match=r"model\.bn=local: base models of unequal algorithm\.base_widths"):
        bound(model=DigitCNN(bn="local"))
    with pytest.raises(UserError, match=r"width 0\.75: of algorithm\.base_widths=.* 0\.125, 0\.25, 0\.5, 1; choose"):
        bound().network(0.75)
