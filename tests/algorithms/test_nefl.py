"""NeFL: what it equals, which part of the network a budget holds, what sub-models share and what they keep."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from plain_averages import holders_mean
from rounds import EXACT, PATHS, after, check_every_path_is_one_lane_at_a_time

from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.nefl import NeFL
from splitmix.algorithms.server_optimizers import ServerMomentum
from splitmix.algorithms.values import ClientTask, Update
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.errors import UserError
from splitmix.evaluation.cost import cost, lane_cost
from splitmix.evaluation.customize import customize
from splitmix.federation.budgets import Groups
from splitmix.federation.client import ClientModule
from splitmix.federation.federation import Federation
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import lane_template
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.residual import step_entries
from splitmix.models.vit import ViT

RESNET, SHAPE = PreResNet18(), (3, 16, 16)
TINY, SMALL = ViT(heads=8, head_size=4), (3, 8, 8)
BUDGETS = (0.125, 0.25, 0.5, 1.0)


def bound(algorithm=None, budgets=BUDGETS, model=TINY, shape=SMALL, **problem):
    return (algorithm or NeFL()).bind(model, Problem(shape, 10, budgets, **problem))


@pytest.fixture
def federation_of_16():
    """Makes a federation of 2 x 2 clients on 16x16 noise, which a ResNet needs."""
    generator = np.random.default_rng(0)

    def images(n):
        pixels = generator.integers(0, 256, (2 * n, *SHAPE), dtype=np.uint8)
        return ImageSet(torch.from_numpy(pixels), torch.from_numpy(generator.integers(0, 10, 2 * n)), (n, n))

    data = Dataset("noise", ("a", "b"), tuple("0123456789"), images(34), images(8))
    return lambda *components, **settings: Federation(
        data, *components, **{"clients_per_domain": 2, "batch_size": 8, "rounds": 3, **settings}
    )


def values_of(spec):
    """How many values a network has."""
    return sum(value.numel() for value in lane_template(spec, 1).values())


def test_one_sub_model_of_the_whole_network_with_steps_of_1_is_fedavg(federation):
    made = [
        federation(algorithm, TINY, budget=Groups("1"), engine=EXACT)
        for algorithm in (NeFL(learned_steps=False, weighting="samples"), FedAvg())
    ]
    (first, metrics), (second, others) = map(after, made)
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        torch.testing.assert_close(value, second.tensors[name], rtol=1e-5, atol=1e-6, msg=name)
    assert (metrics.loss, metrics.accuracy) == pytest.approx((others.loss, others.accuracy), rel=1e-5)
    assert metrics.bytes_up == others.bytes_up
    assert torch.equal(made[0].test(first, [1.0]).per_client, made[1].test(second, [1.0]).per_client)


@pytest.mark.slow
@pytest.mark.parametrize("bn", ["batch", "tracked"])
def test_it_is_fedavg_with_batch_normalisation_too(federation_of_16, bn):
    first, second = (
        after(federation_of_16(algorithm, PreResNet18(bn), budget=Groups("8"), engine=EXACT), 1)[0]
        for algorithm in (NeFL(depth=0, learned_steps=False, weighting="samples"), FedAvg(width=0.125))
    )
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert value.dtype == second.tensors[name].dtype
        torch.testing.assert_close(value, second.tensors[name], rtol=1e-5, atol=1e-6, msg=name)


def test_without_depth_and_steps_only_norms_tell_it_from_heterofl(federation):
    fed, other = (
        federation(algorithm, TINY, budget=Groups("8-2"), engine=EXACT)
        for algorithm in (NeFL(depth=0, learned_steps=False, weighting="samples"), HeteroFL(rescale_layer=False))
    )
    first, second = after(fed, 1)[0], after(other, 1)[0]
    own = fed.method.own_entries(fed.method.full)
    for name, value in second.tensors.items():
        same = torch.allclose(first.tensors[name], value, rtol=1e-5, atol=1e-6)
        assert same == (name not in own), name


@pytest.mark.slow
@pytest.mark.parametrize("model", [TINY, pytest.param(PreResNet18("tracked"), id="preresnet18")])
def test_packed_and_shared_out_lanes_equal_one_at_a_time(federation, federation_of_16, model):
    make = federation if model is TINY else federation_of_16
    budget, paths = (Groups("8-4-4-4"), PATHS) if model is TINY else (Groups("8-8-8-4"), PATHS[:2])
    fed, state = check_every_path_is_one_lane_at_a_time(
        lambda engine: make(NeFL(), model, budget=budget, engine=engine), rounds=1, paths=paths
    )
    initial = fed.initial_state().tensors
    assert all(not torch.equal(initial[name], state.tensors[name]) for name in step_entries(fed.method.full))


def test_the_published_sub_models_of_resnet18():
    """Widths and blocks of NeFL-WD in the authors' utils/getData.py: sqrt of 0.34, 0.4, 0.6, 0.8, 1, the smallest alone
    without the last block; its parameters, counted here one by one, are a fifth of all."""
    budgets = tuple(size**0.5 for size in (0.2, 0.4, 0.6, 0.8, 1))
    method = bound(budgets=budgets, model=RESNET, shape=(3, 32, 32))
    specs = [method.spec(width) for width in method.widths]
    assert [spec.skipped for spec in specs] == [("layer4.1",), (), (), (), ()]
    assert [spec.width for spec in specs] == pytest.approx([0.34**0.5, *budgets[1:]], abs=0.006)
    whole = values_of(replace(specs[-1], steps=False))
    assert whole == 11172170
    sizes = [values_of(spec) / whole for spec in specs]
    assert sizes == pytest.approx([0.2, 0.4, 0.6, 0.8, 1], abs=0.01)
    wide = bound(NeFL(depth=0), budgets, RESNET, (3, 32, 32))
    assert [(spec.width, spec.skipped) for spec in map(wide.spec, wide.widths)] == [(b, ()) for b in budgets]
    assert "0.447214: width 0.589, 1 block less, 0.632456: width 0.632, no blocks less" in method.notes[0]


@pytest.mark.parametrize("depth", [0.0, 0.3, 0.4, 0.7, 1.0])
@pytest.mark.parametrize(("model", "shape"), [(RESNET, SHAPE), (TINY, SMALL)])
def test_sub_models_are_nested_and_within_their_budgets(model, shape, depth):
    budgets = (0.125, 0.2, 0.25, 0.45, 0.5, 0.6, 0.65, 0.8, 1.0)
    method = bound(NeFL(depth), budgets, model, shape)
    specs = [method.spec(width) for width in method.widths]
    assert all(larger.holds(smaller) for smaller, larger in pairwise(specs))
    assert specs[-1] == method.full and specs[-1].width == 1 and not specs[-1].skipped
    blocks = {len(spec.skipped) for spec in specs}
    assert blocks == {0} if depth == 0 else max(blocks) >= len(model.skippable) - 1
    for width, spec in zip(budgets, specs, strict=True):
        # Rounding up to whole channels and heads, and what does not shrink with both of its sides, come on top.
        assert values_of(spec) / values_of(method.full) <= (width + (0.13 if model is TINY else 0.03)) ** 2


@pytest.mark.parametrize(("model", "shape"), [(PreResNet18("tracked"), SHAPE), (TINY, SMALL)])
def test_weights_are_shared_and_norms_and_steps_kept_by_sub_model(model, shape):
    """Against a plain version, entry by entry: client c sends c + 1 everywhere; what nobody holds stays."""
    method = bound(None, (0.125, 0.25, 0.25, 0.5), model, shape)
    state = method.initial_state(0)
    tasks = [method.download(state, task) for task in method.plan(state, [0, 1, 2], 0)]
    updates = [
        Update(task, 10.0, {name: torch.full_like(value, task.client + 1) for name, value in task.tensors.items()})
        for task in tasks
    ]
    merged = method.merge(state, updates).tensors
    assert merged.keys() == state.tensors.keys()
    own = method.own_entries(method.full)
    assert step_entries(method.full) < own
    for name, value in state.tensors.items():
        budget, _, plain = name.rpartition("/")
        if plain in own:  # 0 alone has the smallest, 1 and 2 the next, nobody the largest
            expected = torch.full_like(value, {"0.125": 1, "0.25": 2.5}[budget]) if budget else value  # a count: 2
        else:
            expected = holders_mean(updates, name, value)
        torch.testing.assert_close(merged[name], expected, msg=name)
    again = method.download(replace(state, tensors=merged), tasks[1])
    norm = "layer1.0.n1" if model.name == "preresnet18" else "blocks.0.norm1"
    assert all((again.tensors[name] == 2.5).all() for name in (f"{norm}.weight", *step_entries(tasks[1].spec)))
    same = method.merge(state, [Update(task, 1.0, task.tensors) for task in tasks])
    torch.testing.assert_close(same.tensors, state.tensors)


def test_bytes_and_macs_are_those_of_the_sub_model():
    method = bound(None, BUDGETS[:3], RESNET, SHAPE)
    state = method.initial_state(0)
    for client, task in enumerate(method.plan(state, range(3), 0)):
        budget, task = BUDGETS[client], method.download(state, task)
        assert task.tensors.keys() == lane_template(task.spec, 1).keys()
        carried = sum(value.numel() for value in task.tensors.values())
        assert method.upload_entries(budget) == method.download_entries(budget) == carried
        macs, parameters = cost(method, state, budget)
        assert parameters == carried and method.training_load(budget) == [(task.spec, 1.0)]
        # A block is two 3x3 convolutions of as many channels, each image of 2x2 pixels in stage 4, and two norms.
        if budget == 0.5:
            with_it = lane_cost(replace(task.spec, skipped=()))
            c = task.spec.units(512)
            assert with_it[1] - parameters == 2 * 9 * c * c + 4 * c + 1
            assert with_it[0] - macs == 4 * (2 * 9 * c * c) + 2 * 4 * 4 * c
    planned = method.plan(state, [0], 0)[0]
    sent = {**planned.to_dict(), "spec": {**planned.to_dict()["spec"], "skipped": list(planned.spec.skipped)}}
    assert ClientTask.from_dict(sent, RESNET) == planned


def test_a_server_optimizer_steps_what_every_sub_model_owns():
    method = bound(None, (0.125, 1.0), server_optimizer=ServerMomentum(lr=0.5, momentum=0.0))
    state = method.initial_state(0)
    [task] = [method.download(state, task) for task in method.plan(state, [0], 0)]
    update = Update(task, 1.0, {name: value + 1 for name, value in task.tensors.items()})
    after = method.merge(state, [update])
    name = "0.125/blocks.0.step1.weight"
    assert after.tensors[name].item() == 1.5 and after.tensors["blocks.0.step1.weight"].item() == 1
    assert after.server.keys() == state.server.keys()


def test_a_width_is_the_sub_model_of_that_budget(federation):
    fed = federation(NeFL(), TINY, budget=Groups("8-4"))
    state, _ = after(fed, 1)
    method = fed.method
    assert list(fed.test(state, [0.125, 0.25]).widths) == [0.125, 0.25]
    images = torch.rand(5, *SMALL)
    for width in (0.125, 0.25):
        network = method.spec(width).build(1).eval()
        network.load_lanes(method.part(state.tensors, method.spec(width)))
        torch.testing.assert_close(customize(method, state, width)(images), network(images)[0])
    with pytest.raises(UserError, match=r"width 0\.2: algorithm=nefl has norms .* choose from 0\.125, 0\.25"):
        method.network(0.2)
    client = ClientModule(method, method.spec(0.125).build(1), fed.optimizer)
    client.set_width(0.125)
    assert client(images).shape == (5, 10)
    with pytest.raises(UserError, match=r"width 0\.25: this client holds"):
        client.set_width(0.25)


def test_budgets_of_one_architecture_are_one_sub_model():
    capped = bound(None, (0.5, 0.5, 0.501, 0.6, 1.0), RESNET, SHAPE)
    assert capped.spec(0.5) == capped.spec(0.501) and capped.widths == (0.5, 0.501, 0.6, 1.0)
    assert list(capped.prefixes.values()) == ["", "0.6/", "0.5/"]
    assert capped.spec(0.5).width == capped.spec(0.6).width == 0.6 and capped.spec(0.5).skipped == ("layer4.1",)


@pytest.mark.parametrize(
    ("algorithm", "model", "words"),
    [
        (NeFL(), DigitCNN(), "model=digit_cnn: it has no residual blocks, .* algorithm=nefl varies; use model="),
        (NeFL(depth=2.0), TINY, r"algorithm\.depth=2: give a number from 0 to 1"),
        (NeFL(weighting="all"), TINY, r"algorithm\.weighting=all: choose samples or clients"),
        (NeFL(), PreResNet18(bn="local"), r"model\.bn=local: algorithm=nefl keeps .* use model\.bn=batch or"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(algorithm, model, words):
    with pytest.raises(UserError, match=words):
        bound(algorithm, model=model, shape=(3, 64, 64))
