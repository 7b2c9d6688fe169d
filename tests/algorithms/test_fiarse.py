"""FIARSE: what it equals, which weights a sub-model has, how changes are merged, what travels."""

import pytest
import torch

from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fiarse import FIARSE, KEPT, POSITIONS, THRESHOLD
from splitmix.algorithms.importance_mask import BLOCK, importance_masked
from splitmix.algorithms.values import Update
from splitmix.data.dataset import ImageSet
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.federation.client_side import ClientSettings, client_update
from splitmix.models.digit_cnn import DigitCNN

BUDGETS = (0.125, 0.25, 0.5)


def bound(budgets=BUDGETS, model=None):
    return FIARSE().bind(model or DigitCNN(), Problem((3, 8, 8), 10, budgets))


@pytest.mark.slow
def test_a_client_of_the_whole_network_is_one_of_federated_averaging(federation):
    """With several clients FIARSE divides a change by how many made it, where averaging divides by all of them."""
    settings = {"budget": Groups("1"), "clients_per_round": 1, "optimizer": SGD(momentum=0.0, weight_decay=0.0)}
    states = []
    for algorithm in (FedAvg(), FIARSE()):
        fed = federation(algorithm, **settings)
        states.append(fed.run_round(fed.run_round(fed.initial_state())[0])[0])
    for name, value in states[0].tensors.items():
        torch.testing.assert_close(states[1].tensors[name], value, rtol=1e-4, atol=1e-5)


class Mask(torch.autograd.Function):
    """The authors' mask, with the gradient that they give it."""

    @staticmethod
    def forward(ctx, size, theta):
        ctx.save_for_backward(size, theta)
        return (size >= theta).to(size.dtype)

    @staticmethod
    def backward(ctx, grad):
        size, theta = ctx.saved_tensors
        return grad * 2 * theta / (size + theta) ** 2 * (size >= theta), None


@pytest.mark.parametrize("shape", [(50,), (BLOCK + 3,), (3, 4, 5, 5)])
def test_the_gradient_of_a_masked_weight_is_the_authors(shape):
    weight = torch.randn(2, *shape, dtype=torch.float64)
    if len(shape) == 4:
        weight = weight.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (2, -1))
    weight.requires_grad_()
    theta, factor = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.randn(2, *shape, dtype=torch.float64)
    expected = weight * Mask.apply(weight.abs(), theta.view(2, *(1,) * len(shape)))
    [gradient] = torch.autograd.grad((expected * factor).sum(), weight)
    masked = importance_masked(weight, theta)
    torch.testing.assert_close(masked, expected)
    torch.testing.assert_close(torch.autograd.grad((masked * factor).sum(), weight)[0], gradient)
    assert (gradient != factor).any()


def test_a_sub_model_has_the_largest_weights_and_smaller_ones_are_parts_of_it():
    method = bound()
    state = method.initial_state(0)
    weights = method.flat(state.tensors)[0]
    kept = {}
    for width in BUDGETS:
        [group] = method.mix_groups(state.tensors, [width])
        flat = method.flat(group.tensors)[0]
        kept[width] = flat != 0
        assert int(kept[width].sum()) == method.kept(width) == int(len(weights) * (width / 0.5) ** 2) or width == 0.5
        assert torch.equal(flat[kept[width]], weights[kept[width]])
        if width < 0.5:
            assert weights[kept[width]].abs().min() >= weights[~kept[width]].abs().max()
    assert (kept[0.25] >= kept[0.125]).all() and torch.equal(method.flat(group.tensors)[0], weights)


def test_changes_are_averaged_over_the_clients_that_made_them():
    """Against the authors' rule on whole networks: sums of changes, divided by how many of them are not 0."""
    method, generator = bound(), torch.Generator().manual_seed(0)
    state = method.initial_state(0)
    total = torch.zeros(1, method.weights)
    count = torch.zeros(1, method.weights)
    updates = []
    for task in method.plan(state, [0, 1, 2], 0):
        task = method.download(state, task)
        positions, kept = task.tensors[POSITIONS].long(), task.tensors[KEPT]
        change = torch.randn(kept.shape, generator=generator) * (torch.rand(kept.shape, generator=generator) < 0.5)
        others = {name: torch.zeros_like(value) for name, value in method.others(state.tensors).items()}
        updates.append(Update(task, 10.0 * (task.client + 1), {**others, KEPT: change}))
        dense = torch.zeros(1, method.weights).scatter_(1, positions, change)
        total, count = total + dense, count + (dense != 0)
    merged = method.merge(state, updates)
    expected = method.flat(state.tensors) + (total / count).nan_to_num()
    torch.testing.assert_close(method.flat(merged.tensors), expected)
    halves = [method.no_updates(state) for _ in range(2)]
    halves = [method.accumulate(halves[0], updates[0]), method.accumulate(halves[1], updates[1])]
    both = method.finalise(state, method.accumulate(method.combine(*halves), updates[2]))
    torch.testing.assert_close(both.tensors, merged.tensors)


def test_lanes_of_all_sizes_together_equal_one_lane_at_a_time(federation):
    states = []
    for lanes in (1, 4):
        engine = EngineSettings(lanes=lanes, workers=1, threads=1, precision="64-true")
        fed = federation(FIARSE(), budget=Groups("8-4"), engine=engine, optimizer=SGD(momentum=0.5))
        assert set(fed.budgets) == {0.125, 0.25}
        states.append(fed.run_round(fed.initial_state())[0])
    for name, value in states[0].tensors.items():
        torch.testing.assert_close(states[1].tensors[name], value, rtol=1e-5, atol=1e-7)


def test_a_client_gets_its_weights_alone_and_changes_no_others(federation):
    fed = federation(FIARSE(), budget=Groups("8-2"))
    method, state = fed.method, fed.initial_state()
    [planned] = method.plan(state, [fed.budgets.index(0.125)], 0)
    task = method.download(state, planned)
    start = method.flat(method.start(task, {}))[0]
    assert int((start != 0).sum()) == method.kept(0.125) < method.weights
    rows = fed.clients[planned.client].train
    images = ImageSet(fed.dataset.train.images[rows], fed.dataset.train.labels[rows], (len(rows),))
    update, _ = client_update(method, task, {}, images, ClientSettings(SGD(), 8), 0.1)
    sent = sum(value.numel() for value in update.tensors.values())
    received = sum(value.numel() for value in (*task.tensors.values(), task.context[THRESHOLD]))
    assert (sent, received) == (method.upload_entries(0.125), method.download_entries(0.125))
    before, after = method.flat(state.tensors)[0], method.flat(method.merge(state, [update]).tensors)[0]
    changed = torch.zeros(method.weights, dtype=torch.bool).index_fill_(0, task.tensors[POSITIONS][0].long(), True)
    assert torch.equal(after[~changed], before[~changed]) and (after != before).any()


def test_running_statistics_and_other_widths_are_refused():
    with pytest.raises(UserError, match=r"model\.bn=tracked: algorithm=fiarse has sub-models of different sizes"):
        bound(model=DigitCNN(bn="tracked"))
    with pytest.raises(UserError, match=r"width 0\.75: algorithm=fiarse gives widths above 0 and up to .* 0\.5"):
        bound().network(0.75)
