"""DepthFL, InclusiveFL, ScaleFL: what they equal, which part of the network a budget holds, losses, merging."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from plain_averages import holders_mean
from rounds import EXACT, after, check_every_path_is_one_lane_at_a_time

from splitmix.algorithms.base import LaneBatch, Problem
from splitmix.algorithms.depthfl import DepthFL
from splitmix.algorithms.exits import DISTILLATION
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.inclusivefl import InclusiveFL
from splitmix.algorithms.scalefl import ScaleFL
from splitmix.algorithms.values import ClientTask, Update
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.federation.budgets import Groups
from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import lane_template
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT

SHAPE = (3, 8, 8)
BUDGETS = (0.125, 0.25, 0.5, 1.0)
METHODS = [DepthFL(), InclusiveFL(), ScaleFL(gamma=0.5, quiet=0)]


def bound(algorithm, budgets=BUDGETS, model=None, shape=SHAPE, **problem):
    return algorithm.bind(model or DigitCNN(), Problem(shape, 10, budgets, **problem))


EQUAL = {
    "DepthFL with one exit is FedAvg": (DepthFL(exits=1, weighting="samples"), FedAvg(), "1"),
    "InclusiveFL with every budget 1 is FedAvg": (InclusiveFL(weighting="samples"), FedAvg(), "1"),
    "ScaleFL with one exit and every budget 1 is FedAvg": (ScaleFL(exits=1, weighting="samples"), FedAvg(), "1"),
    "with equal weights it is HeteroFL with these": (ScaleFL(exits=1), HeteroFL(weighting="clients"), "1"),
    "DepthFL whose clients have one exit is InclusiveFL": (DepthFL(), InclusiveFL(), "8-4"),
    "DepthFL with one exit is InclusiveFL, whatever the budgets": (DepthFL(exits=1), InclusiveFL(exits=1), "8-1"),
}
QUICK = "DepthFL whose clients have one exit is InclusiveFL"


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == QUICK else pytest.mark.slow) for n in EQUAL])
def test_limit_cases(federation, name):
    one, two, budgets = EQUAL[name]
    (first, metrics), (second, others) = (
        after(federation(algorithm, budget=Groups(budgets), engine=EXACT, clients_per_domain=2), 2)
        for algorithm in (one, two)
    )
    assert first.tensors.keys() == second.tensors.keys()
    for key, value in first.tensors.items():
        torch.testing.assert_close(value, second.tensors[key], rtol=1e-5, atol=1e-6, msg=key)
    assert (metrics.loss, metrics.accuracy) == pytest.approx((others.loss, others.accuracy), rel=1e-5)
    assert metrics.bytes_up == others.bytes_up


@pytest.mark.parametrize("algorithm", METHODS, ids=lambda algorithm: algorithm.name)
@pytest.mark.slow
def test_packed_and_shared_out_lanes_equal_one_at_a_time(federation, algorithm):
    check_every_path_is_one_lane_at_a_time(
        lambda engine: federation(algorithm, budget=Groups("8-4-2-2"), engine=engine)
    )


def test_a_budget_holds_its_share_of_the_exits():
    method = bound(DepthFL(), (0.125, 0.25, 0.5, 0.75, 1.0))
    assert [method.spec(width).exits for width in method.widths] == [(1,), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    assert {method.spec(width).width for width in method.widths} == {1.0}
    assert bound(DepthFL(exits=2)).spec(0.5).exits == (3,) and bound(DepthFL(exits=2)).spec(1.0).exits == (3, 4)
    alone = bound(InclusiveFL())
    assert [alone.spec(width).exits for width in BUDGETS] == [(1,), (1,), (2,), (4,)]
    assert alone.full.exits == (1, 2, 4)
    assert method.full.exits == (1, 2, 3, 4) and bound(DepthFL(), (0.125, 0.5)).full.exits == (1, 2)
    assert "0.125: 1, 0.25: 1, 0.5: 2, 1: 4" in alone.notes[0]


@pytest.mark.parametrize("width", BUDGETS)
def test_scalefl_shrinks_both_and_costs_no_more_than_a_slice(width):
    spec = bound(ScaleFL()).spec(width)
    assert spec.width == pytest.approx(width ** (2 / 3)) and spec.exits == tuple(range(1, spec.depth + 1))
    assert spec.width**2 * spec.depth / 4 <= width**2 + 1e-9
    assert bound(ScaleFL()).network(width).exits == spec.exits[-1:]


@pytest.mark.parametrize("algorithm", METHODS, ids=lambda algorithm: algorithm.name)
@pytest.mark.parametrize(("model", "shape"), [(DigitCNN(), SHAPE), (PreResNet18(), (3, 16, 16)), (ViT(), SHAPE)])
def test_entries_are_averaged_over_the_clients_that_hold_them(algorithm, model, shape):
    """Against a plain version, entry by entry: client c sends c + 1 everywhere; what nobody holds stays."""
    method = bound(algorithm, (0.125, 0.25, 0.5, 0.75), model, shape)
    state = method.initial_state(0)
    chosen = [0, 2, 3] if algorithm.name != "inclusivefl" else [0, 2]
    updates, held = [], []
    for task in method.plan(state, chosen, 0):
        task = method.download(state, task)
        assert task.tensors.keys() == lane_template(task.spec, 1).keys()
        for name, value in task.tensors.items():
            assert torch.equal(value, state.tensors[name][tuple(slice(size) for size in value.shape)])
        held.append(task.tensors)
        tensors = {name: torch.full_like(value, task.client + 1) for name, value in task.tensors.items()}
        updates.append(Update(task, 10.0 * (task.client + 1), tensors))
    merged = method.merge(state, updates)
    for name, value in state.tensors.items():
        torch.testing.assert_close(merged.tensors[name], holders_mean(updates, name, value))
    same = method.merge(state, [Update(u.task, 1.0, tensors) for u, tensors in zip(updates, held, strict=True)])
    torch.testing.assert_close(same.tensors, state.tensors)


def objective_of(method, weight):
    spec = method.spec(0.5)
    network = spec.build(2).double().train()
    network.load_lanes(spec.initial_tensors(2, torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, *SHAPE, dtype=torch.float64, generator=generator)
    labels = torch.arange(6).expand(2, -1)
    context = {DISTILLATION: torch.full((2,), weight, dtype=torch.float64)}
    logits = network.exit_logits(images)
    entropies = [torch.stack([F.cross_entropy(lane, labels[0]) for lane in one]) for one in logits]
    return method.objective(network, LaneBatch(images, labels, [], context=context)), logits, entropies


def test_depthfl_adds_up_the_exits_and_what_they_learn_from_each_other():
    found, logits, entropies = objective_of(bound(DepthFL()), 0.3)
    expected = sum(entropies)
    for pupil in range(len(logits)):
        for teacher in range(len(logits)):
            if teacher != pupil:
                target = logits[teacher].softmax(-1)
                distance = (target * (target.log() - logits[pupil].log_softmax(-1))).sum(-1).mean(-1)
                expected = expected + 0.3 * distance / (len(logits) - 1)
    assert len(logits) == 2
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.mean_loss, sum(entropies).detach() / 2)
    predicted = torch.stack(logits).mean(0).argmax(-1)
    torch.testing.assert_close(found.accuracy, (predicted == torch.arange(6)).float().mean(-1))


def test_what_an_exit_learns_from_has_no_gradient():
    method = bound(DepthFL())
    logits = [torch.randn(1, 3, 10, requires_grad=True) for _ in range(2)]
    loss = method.loss(logits, torch.zeros(2, 1), torch.ones(1))
    for one, other in (logits, logits[::-1]):
        # Of KL(q || p) by the logits of p, with q fixed: p - q, and the mean over three images.
        [gradient] = torch.autograd.grad(loss.sum(), one, retain_graph=True)
        torch.testing.assert_close(gradient, (one.softmax(-1) - other.softmax(-1)).detach() / 3)


def test_scalefl_weighs_deeper_exits_more():
    found, logits, entropies = objective_of(bound(ScaleFL(gamma=0.5, temperature=2.0)), 0.25)
    target = (logits[1] / 2).softmax(-1)
    distance = (target * (target.log() - (logits[0] / 2).log_softmax(-1))).mean((1, 2))
    torch.testing.assert_close(found.loss, (entropies[0] + 0.25 * 4 * distance + 2 * entropies[1]) / 3)
    [gradient] = torch.autograd.grad(bound(ScaleFL()).distance(logits[0].detach(), logits[1]).sum(), logits[1])
    assert gradient.any()  # as in the authors' code the last exit moves towards the earlier ones too
    plain, _, entropies = objective_of(bound(ScaleFL()), 0.0)
    torch.testing.assert_close(plain.loss, (entropies[0] + 2 * entropies[1]) / 3)


def test_distillation_grows_or_begins_with_the_rounds():
    method = bound(DepthFL(), rounds=1000)
    assert method.distillation(0) == pytest.approx(math.exp(-5))
    assert method.distillation(150) == pytest.approx(math.exp(-1.25)) and method.distillation(300) == 1.0
    assert bound(DepthFL(self_distillation=False)).distillation(20) == 0 and bound(DepthFL(ramp=0)).distillation(0) == 1
    late = bound(ScaleFL(gamma=0.1), rounds=100)
    assert [late.distillation(number) for number in (0, 25, 26, 99)] == [0, 0, 0.1, 0.1]


@pytest.mark.parametrize(("algorithm", "mean"), [(DepthFL(), True), (InclusiveFL(), False), (ScaleFL(), False)])
def test_a_depth_answers_with_all_of_its_exits_or_the_last(algorithm, mean):
    method = bound(algorithm)
    state = method.initial_state(0)
    images = torch.rand(5, *SHAPE)
    whole = replace(method.spec(0.5), exits=(1, 2) if algorithm.name != "inclusivefl" else (2,)).build(1).eval()
    whole.load_lanes(method.download(state, method.plan(state, [2], 0)[0]).tensors)
    with torch.no_grad():
        logits = torch.stack(whole.exit_logits(images))[:, 0]
        expected = logits.mean(0) if mean else logits[-1]
        torch.testing.assert_close(customize(method, state, 0.5)(images), expected)


def test_a_task_says_its_exits_when_it_travels():
    method = bound(DepthFL())
    [task] = method.plan(method.initial_state(0), [3], 0)
    assert ClientTask.from_dict({**task.to_dict(), "spec": {**task.to_dict()["spec"], "exits": [1, 2, 3, 4]}},
                                method.model) == task  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "model", "words"),
    [
        (DepthFL(), AlexNet(), "model=alexnet: it has no early exits, which algorithm=depthfl needs"),
        (ScaleFL(exits=5), DigitCNN(), r"algorithm\.exits=5: model=digit_cnn has exits 1 to 4"),
        (InclusiveFL(weighting="all"), DigitCNN(), r"algorithm\.weighting=all: choose samples or clients"),
        (InclusiveFL(), DigitCNN(bn="tracked"), r"model\.bn=tracked: algorithm=inclusivefl"),
        (DepthFL(ramp=2.0), DigitCNN(), r"algorithm\.ramp=2: give a share of the rounds"),
        (ScaleFL(gamma=-1.0), DigitCNN(), r"algorithm\.gamma=-1: give a number of at least 0"),
        (ScaleFL(temperature=0.0), DigitCNN(), r"algorithm\.temperature=0: give a number above 0"),
        (ScaleFL(quiet=-0.1), DigitCNN(), r"algorithm\.quiet=-0\.1: give a share of the rounds"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(algorithm, model, words):
    with pytest.raises(UserError, match=words):
        bound(algorithm, model=model, shape=(3, 64, 64))


def test_a_depth_without_an_exit_is_refused():
    with pytest.raises(UserError, match=r"width 0\.75: algorithm=inclusivefl trains one exit for each depth"):
        bound(InclusiveFL()).network(0.75)
    assert bound(DepthFL()).network(0.75).exits == (1, 2, 3)
