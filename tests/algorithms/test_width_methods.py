"""FedAvg, HeteroFL, SHeteroFL, FedRolex, FjORD: what they equal, what they merge, what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rounds import EXACT, after, check_every_path_is_one_lane_at_a_time

from splitmix.algorithms.base import LaneBatch, Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedrolex import FedRolex
from splitmix.algorithms.fjord import FjORD
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.sheterofl import SHeteroFL
from splitmix.algorithms.slices import window
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import Update
from splitmix.data.dataset import to_float
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import evaluate
from splitmix.evaluation.customize import customize
from splitmix.federation.budgets import Groups
from splitmix.federation.sampling import eval_batches
from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import lane_template
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT
from splitmix.randomness import rng
from splitmix.robustness.autoattack import Square
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SHAPE = (3, 8, 8)


def bound(algorithm, budgets=(0.125, 0.25, 0.5, 1.0), model=None, **problem):
    return algorithm.bind(model or DigitCNN(), Problem(SHAPE, 10, budgets, **problem))


EQUAL = {
    "Split-Mix with one full-width base model is FedAvg": (SplitMix(atom_width=1.0), FedAvg(), "1"),
    "HeteroFL with every budget 1 is FedAvg": (HeteroFL(), FedAvg(), "1"),
    "SHeteroFL with every budget 1 is FedAvg": (SHeteroFL(), FedAvg(), "1"),
    "FjORD with every budget 1 is FedAvg": (FjORD(), FedAvg(), "1"),
    "FedRolex that does not roll is HeteroFL": (FedRolex(step=0), HeteroFL(), "8-2"),
    "FedRolex with every budget 1 is FedAvg, however it rolls": (FedRolex(step=5), FedAvg(), "1"),
    "FedRolex with equal budgets is HeteroFL, however it rolls": (FedRolex(step=5), HeteroFL(), "4"),
    "SHeteroFL with a single candidate is HeteroFL": (SHeteroFL(), HeteroFL(), "4"),
    "FjORD with a single width is HeteroFL without rescale": (FjORD(), HeteroFL(rescale_layer=False), "4"),
    "FedAvg of width 1/4 is HeteroFL at budgets of 1/4": (FedAvg(width=0.25), HeteroFL(rescale_layer=False), "4"),
}


FULL_WIDTH = [name for name, (*_, budgets) in EQUAL.items() if budgets == "1"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in FULL_WIDTH else ()) for name in EQUAL]
)
def test_limit_cases(federation, name):
    one, two, budgets = EQUAL[name]
    rounds = 2 if "roll" in name else 1
    (first, metrics), (second, others) = (
        after(federation(algorithm, budget=Groups(budgets), engine=EXACT, clients_per_domain=1), rounds)
        for algorithm in (one, two)
    )
    assert first.tensors.keys() == second.tensors.keys()
    for key, value in first.tensors.items():
        torch.testing.assert_close(value, second.tensors[key], rtol=1e-5, atol=1e-6, msg=key)
    assert (metrics.loss, metrics.accuracy) == pytest.approx((others.loss, others.accuracy), rel=1e-5)
    assert metrics.bytes_up == others.bytes_up


@pytest.mark.parametrize("algorithm", [HeteroFL(), SHeteroFL(), FedRolex(), FjORD(), FjORD(self_distillation=True)])
@pytest.mark.slow
def test_packed_and_shared_out_lanes_equal_one_at_a_time(federation, algorithm):
    check_every_path_is_one_lane_at_a_time(
        lambda engine: federation(algorithm, budget=Groups("8-4-4-4"), clients_per_domain=3, engine=engine)
    )


def test_every_entry_is_averaged_over_the_clients_that_trained_it():
    """Golden numbers by hand: budgets 1/8, 1/8, 1/4 and weights 1, 3, 4; what nobody trained stays."""
    method = bound(HeteroFL(), (0.125, 0.125, 0.25, 1.0))
    state = method.initial_state(0)
    tasks = method.plan(state, [0, 1, 2], 0)
    updates = []
    for task, weight, fill in zip(tasks, (1.0, 3.0, 4.0), (2.0, 6.0, 10.0), strict=True):
        tensors = {name: torch.full_like(value, fill) for name, value in method.download(state, task).tensors.items()}
        updates.append(Update(task, weight, tensors))
    weight = method.merge(state, updates).tensors["conv2.weight"][0]
    assert weight.shape == (64, 64, 5, 5)
    # (1 * 2 + 3 * 6 + 4 * 10) / 8
    assert (weight[:8, :8] == 7.5).all()
    assert (weight[8:16, :16] == 10).all() and (weight[:8, 8:16] == 10).all()
    assert torch.equal(weight[16:], state.tensors["conv2.weight"][0, 16:])
    assert torch.equal(weight[:16, 16:], state.tensors["conv2.weight"][0, :16, 16:])


def test_slices_round_up_and_base_models_round_down():
    shapes = lane_template(bound(HeteroFL(), (0.3, 1.0)).spec(0.3), 1)
    assert shapes["conv1.weight"].shape[1] == 20 and shapes["fc2.weight"].shape[1:] == (154, 615)
    assert lane_template(bound(FedAvg(width=0.3)).spec, 1)["conv1.weight"].shape[1] == 19


@pytest.mark.parametrize(
    ("model", "shape"),
    [(DigitCNN(), SHAPE), (PreResNet18(), (3, 16, 16)), (AlexNet(), (3, 64, 64)), (ViT(heads=16, head_size=4), SHAPE)],
)
@pytest.mark.parametrize("round_index", [0, 1, 70])
def test_what_is_extracted_and_not_trained_merges_to_the_same(model, shape, round_index):
    method = FedRolex(step=3).bind(model, Problem(shape, 10, (0.125, 0.25, 1 / 16)))
    state = replace(method.initial_state(0), round=round_index)
    tasks = method.plan(state, [0, 1, 2], 0)
    merged = method.merge(state, [Update(task, 1.0, method.download(state, task).tensors) for task in tasks])
    for name, value in state.tensors.items():
        torch.testing.assert_close(merged.tensors[name], value)


def test_the_window_rolls_and_keeps_layers_in_step():
    """Channels 3, 4, … of every layer; and the full network with its channels rolled computes the same."""
    method = bound(FedRolex(), (0.25, 0.5))
    state, full = method.initial_state(0), method.full
    part = window(state.tensors, full, method.spec(0.25), lambda channels: 3)
    assert torch.equal(part["conv1.weight"], state.tensors["conv1.weight"][:, 3:19])
    assert torch.equal(part["conv2.weight"], state.tensors["conv2.weight"][:, 3:19, 3:19])
    # 8x8 images: 4 pixels per channel in front of the first linear layer.
    assert torch.equal(part["fc1.weight"], state.tensors["fc1.weight"][:, 3:515, 3 * 4 : 35 * 4])
    assert torch.equal(part["fc3.bias"], state.tensors["fc3.bias"])
    end = window(state.tensors, full, method.spec(0.25), lambda channels: 30)["bn1.bias"]
    assert torch.equal(end[0], state.tensors["bn1.bias"][0, [30, 31, *range(14)]])
    rolled = window(state.tensors, full, full, lambda channels: 5)
    one, two = full.build(1).eval(), full.build(1).eval()
    one.load_lanes(state.tensors)
    two.load_lanes(rolled)
    images = torch.rand(4, *SHAPE)
    torch.testing.assert_close(one(images), two(images), rtol=1e-4, atol=1e-5)
    assert not torch.equal(rolled["fc1.weight"], state.tensors["fc1.weight"])


def test_after_enough_rounds_every_channel_has_been_trained_by_the_narrowest_client():
    method = bound(FedRolex(), (0.125, 0.25))
    state = method.initial_state(0)
    task = method.plan(state, [0], 0)[0]
    for number in range(16):
        state = replace(state, round=number)
        zeros = {name: torch.zeros_like(value) for name, value in method.download(state, task).tensors.items()}
        state = method.merge(state, [Update(task, 1.0, zeros)])
    assert not state.tensors["conv1.weight"].any() and not state.tensors["bn1.weight"].any()


def test_a_model_of_fedrolex_is_the_slice_that_was_trained_last():
    """Not the first channels, which the clients of its width may not have seen for many rounds."""
    method = bound(FedRolex(step=3), (0.125, 0.25))
    fresh = method.initial_state(0)
    state = replace(fresh, round=5, tensors={name: torch.zeros_like(value) for name, value in fresh.tensors.items()})
    task = method.plan(state, [0], 0)[0]
    ones = {name: torch.ones_like(value) for name, value in method.download(state, task).tensors.items()}
    state = method.merge(state, [Update(task, 1.0, ones)])
    [trained] = method.mix_groups(state.tensors, [0.125], state.round)
    [first] = method.mix_groups(state.tensors, [0.125])
    assert all(value.all() for value in trained.tensors.values())
    assert not first.tensors["conv2.weight"].all()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_fedrolex_is_tested_at_its_window_by_workers_too(federation, workers):
    engine = EngineSettings(lanes=2, workers=workers, threads=1)
    fed = federation(FedRolex(step=5), budget=Groups("8-1"), engine=engine)
    state, _ = after(fed, 2)
    [group] = fed.method.mix_groups(state.tensors, [0.125], 2)
    batches = [eval_batches(client.test, 128) for client in fed.clients]
    expected = evaluate([group], fed.dataset.test, batches)
    assert torch.equal(fed.test(state, [0.125]).per_client, expected.per_client)
    assert not torch.equal(group.tensors["conv1.weight"], state.tensors["conv1.weight"][:, :8])
    fed.engine.close()


def test_a_step_of_fedrolex_may_be_a_share_of_the_layer():
    method = bound(FedRolex(step=0.25))
    assert [method.offset(round_index, 64) for round_index in range(5)] == [0, 16, 32, 48, 0]
    assert [method.offset(round_index, 8) for round_index in range(5)] == [0, 2, 4, 6, 0]


def test_sheterofl_weighs_a_client_once_per_width_that_it_trained_if_asked():
    """The authors' script: 1 : 2 for budgets of one and of two candidates, instead of samples alone."""
    merged = {}
    for weighting in ("samples", "widths"):
        method = bound(SHeteroFL(weighting=weighting), (0.125, 0.25))
        state = method.initial_state(0)
        updates = []
        for client, (task, samples) in enumerate(zip(method.plan(state, [0, 1], 0), (30.0, 10.0), strict=True)):
            tensors = {name: torch.full_like(v, client) for name, v in method.download(state, task).tensors.items()}
            updates.append(Update(task, samples, tensors))
        merged[weighting] = float(method.merge(state, updates).tensors["conv1.weight"][0, 0, 0, 0, 0])
    assert merged == pytest.approx({"samples": 10 / 40, "widths": 20 / 50})


@pytest.mark.parametrize("algorithm", [HeteroFL(), SplitMix()])
def test_redrawn_budgets_differ_between_rounds_and_are_those_of_the_fleet(federation, algorithm):
    fed = federation(algorithm, budget=Groups("8-1", redraw="round"), clients_per_domain=4)
    drawn = [[fed.problem.budget(client, number, fed.seed) for client in range(8)] for number in range(3)]
    assert drawn[0] != drawn[1] != drawn[2] and {width for row in drawn for width in row} == {0.125, 1.0}
    tasks = fed.method.plan(fed.initial_state(), range(8), fed.seed)
    assert [len(task.base_models) * task.spec.width for task in tasks] == drawn[0]
    assert fed.run_round(fed.initial_state())[1].bytes_up == 4 * sum(map(fed.method.upload_entries, drawn[0]))


@pytest.mark.slow
def test_static_statistics_are_those_of_all_clients_training_images(federation):
    fed = federation(HeteroFL())
    state, _ = after(fed, 1)
    static = fed.test(state, [0.25], bn="static", batch_size=7).per_client
    rows = torch.cat([client.train for client in fed.clients])
    model = customize(fed.method, state, 0.25, calibration=fed.dataset.train.images[rows])
    for client, accuracy in zip(fed.clients, static[:, 0].tolist(), strict=True):
        with torch.no_grad():
            predicted = model(to_float(fed.dataset.test.images[client.test])).argmax(-1)
        hits = (predicted == fed.dataset.test.labels[client.test]).double().mean()
        # The calibration images come in another order, which moves the statistics a little.
        assert abs(float(hits) - accuracy) <= 2 / len(client.test)
    attacked = fed.test(state, [0.25], bn="static", attack=Square(steps=2))
    assert (attacked.per_client <= static + 1e-9).all()
    local = federation(FedAvg(), DigitCNN(bn="local"))
    with pytest.raises(UserError, match=r"test\.bn=static"):
        local.test(local.initial_state(), [1.0], bn="static")


def test_static_statistics_take_every_training_image_of_uneven_clients(federation, monkeypatch):
    fed = federation(HeteroFL())
    first, *others = fed.clients
    fed.clients = [replace(first, train=first.train[:2]), *others]
    tasks = []
    monkeypatch.setattr(fed.engine, "evaluate", lambda state, task: tasks.append(task))
    fed.test(fed.initial_state(), [0.25], bn="static")
    every = torch.cat([client.train for client in fed.clients])
    assert torch.equal(tasks[0].shared_calibration.sort().values, every.sort().values)


def test_sheterofl_sums_the_gradients_of_all_widths_up_to_the_budget():
    """Against narrower nettasks stepped by hand."""
    method = bound(SHeteroFL(), (0.125, 0.25))
    network = method.spec(0.25).build(1).double().train()
    network.load_lanes(method.initial_state(0).tensors)
    images, labels = torch.rand(6, *SHAPE, dtype=torch.float64), torch.arange(6).unsqueeze(0)
    objective = method.objective(network, LaneBatch(images, labels, []))
    objective.loss.sum().backward()
    total = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    losses = []
    for width in (0.125, 0.25):
        narrow = method.spec(width).build(1).double().train()
        for name, value in narrow.named_parameters():
            value.data.copy_(network.state_dict()[name][tuple(slice(size) for size in value.shape)])
        loss = torch.nn.functional.cross_entropy(narrow(images)[0], labels[0])
        loss.backward()
        losses.append(loss.item())
        for name, value in narrow.named_parameters():
            total[name][tuple(slice(size) for size in value.shape)] += value.grad
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.grad, total[name])
    assert objective.mean_loss.item() == pytest.approx(sum(losses) / 2)


def test_duplicate_budgets_count_once_unless_asked():
    budgets, listed = (0.125, 1.0, 1.0), (0.125, 1.0, 1.0, 1.0)
    assert dict(bound(SHeteroFL(), budgets, listed=listed).counted) == {0.125: 1, 1.0: 1}
    assert dict(bound(SHeteroFL(duplicates=True), budgets, listed=listed).counted) == {0.125: 1, 1.0: 3}
    assert bound(SHeteroFL(candidates=(0.125, 0.5)), budgets).widths == (0.125, 0.5)


def test_fjord_draws_every_width_up_to_the_budget_equally_often():
    method = bound(FjORD(), (0.125, 0.25, 0.5, 1.0))
    drawn = []

    def record(tensors, own, width, images, labels):
        drawn.append(width)
        return torch.zeros(1), torch.zeros(1), torch.zeros(1)

    object.__setattr__(method, "lane_objective", record)
    network = method.spec(0.5).build(1)
    stream = rng(0, "test")
    for _ in range(600):
        method.objective(network, LaneBatch(torch.rand(2, *SHAPE), torch.zeros(1, 2, dtype=torch.int64), [stream]))
    counts = np.array([drawn.count(width) for width in (0.125, 0.25, 0.5)])
    assert counts.sum() == 600 and (abs(counts - 200) < 50).all()


def test_self_distillation_teaches_the_drawn_width_by_the_whole_slice():
    """KL(teacher || student) + CE(teacher), as in the paper's equation; only the teacher is plain CE."""
    method = bound(FjORD(self_distillation=True), (0.125, 0.5))
    network = method.spec(0.5).build(1).train()
    network.load_lanes(method.initial_state(0).tensors)
    images, labels = torch.rand(6, *SHAPE), torch.arange(6).unsqueeze(0)
    tensors = dict(network.named_parameters())
    loss, reported, _ = method.lane_objective(tensors, network.spec, 0.125, images, labels)
    narrow = method.spec(0.125).build(1).train()
    narrow.load_lanes(
        {name: value[tuple(slice(s) for s in narrow.state_dict()[name].shape)] for name, value in tensors.items()}
    )
    student, teacher = narrow(images)[0].log_softmax(-1), network(images)[0].log_softmax(-1)
    expected = (teacher.exp() * (teacher - student)).sum(-1).mean() - teacher[range(6), labels[0]].mean()
    torch.testing.assert_close(loss[0], expected)
    torch.testing.assert_close(reported[0], -student[range(6), labels[0]].mean())


def test_local_batch_norm_stays_with_its_client(federation):
    """FedBN: entries of a client that trained a base model are its own; others keep their initial values."""
    for algorithm in (FedAvg(width=0.125), SplitMix()):
        fed = federation(algorithm, DigitCNN(bn="local"), engine=EXACT)
        start = fed.initial_state()
        state, metrics = fed.run_round(start)
        names = [name for name in state.tensors if ".".join(name.split(".")[:1]).startswith("bn")]
        assert set(state.clients) == set(names) and len(names) == 25
        tasks = {task.client: task.base_models for task in fed.method.plan(start, range(4), fed.seed)}
        for name in names:
            assert torch.equal(state.tensors[name], start.tensors[name])
            for client in range(4):
                for row in range(fed.method.base_models):
                    same = torch.equal(state.clients[name][client, row], start.clients[name][client, row])
                    assert same != (row in tasks[client]), (name, client, row)
        counters = state.clients["bn1.num_batches_tracked"]
        assert counters[1, tasks[1][0]] == len(fed.batches(1, 0))
        shared = sum(value[0].numel() for name, value in state.tensors.items() if name not in names)
        assert metrics.bytes_up == 4 * shared * sum(len(rows) for rows in tasks.values())
        # A client is evaluated with its own.
        accuracy = fed.test(state, fed.method.widths)
        client = 2
        images = fed.dataset.test.images[fed.clients[client].test] / 255
        labels = fed.dataset.test.labels[fed.clients[client].test]
        model = customize(fed.method, state, fed.method.widths[0], client=client)
        right = (model(images).argmax(-1) == labels).double().mean()
        assert right == accuracy.per_client[client, 0]
        with pytest.raises(UserError, match="say whose model"):
            customize(fed.method, state, fed.method.widths[0])
        with pytest.raises(UserError, match="client=9: give a number from 0 to 3"):
            customize(fed.method, state, fed.method.widths[0], client=9)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_local_batch_norm_by_workers_and_resumed(federation, tmp_path, workers):
    engine = EngineSettings(lanes=2, workers=workers, threads=1, precision="64-true")
    straight, _ = after(federation(SplitMix(), DigitCNN(bn="local"), engine=EXACT), 2)
    fed = federation(SplitMix(), DigitCNN(bn="local"), engine=engine)
    save_checkpoint(tmp_path / "c.ckpt", Checkpoint(after(fed, 1)[0], 0, 0.5, 1.0))
    state, _ = fed.run_round(load_checkpoint(tmp_path / "c.ckpt", fed.method).state)
    for group in ("tensors", "local"):
        for name, value in getattr(straight, group).items():
            torch.testing.assert_close(getattr(state, group)[name], value, rtol=1e-5, atol=1e-6)
    one = fed.test(state, [0.25, 1.0]).per_client
    fed.engine.close()
    alone = federation(SplitMix(), DigitCNN(bn="local"), engine=EXACT)
    assert torch.equal(one, alone.test(state, [0.25, 1.0]).per_client)


MISTAKES = {
    "algorithm.width=0:": lambda: bound(FedAvg(width=0.0)),
    "algorithm.width=1.5": lambda: bound(FedAvg(width=1.5)),
    "algorithm.loss_temperature=0": lambda: bound(FedAvg(loss_temperature=0.0)),
    "algorithm.loss_temperature=hot": lambda: bound(FedAvg(loss_temperature="hot")),
    "algorithm.step=-1": lambda: bound(FedRolex(step=-1)),
    "algorithm.step=1.5": lambda: bound(FedRolex(step=1.5)),
    "algorithm.weighting=images": lambda: bound(SHeteroFL(weighting="images")),
    "budget.redraw=daily": lambda: Groups(redraw="daily").check(),
    "algorithm.candidates has 1.5": lambda: bound(SHeteroFL(candidates=(0.125, 1.5))),
    "algorithm.candidates has 0:": lambda: bound(SHeteroFL(candidates=(0.0,))),
    "clients of budget 0.125 could train none of them": lambda: bound(SHeteroFL(candidates=(0.5,))),
    "model.bn=tracked: algorithm=heterofl": lambda: bound(HeteroFL(), model=DigitCNN(bn="tracked")),
    "model.bn=local: algorithm=fjord": lambda: bound(FjORD(), model=DigitCNN(bn="local")),
    "algorithm=fedavg trained a single network of width 0.25": lambda: bound(FedAvg(width=0.25)).network(0.5),
    "width 1: algorithm=heterofl gives widths above 0": lambda: bound(HeteroFL(), (0.125, 0.5)).network(1.0),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_named(words):
    with pytest.raises(UserError) as caught:
        MISTAKES[words]()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_any_width_up_to_the_largest_budget_can_be_sliced(federation):
    fed = federation(HeteroFL(), budget=Groups("8-2"))
    state, _ = after(fed, 1)
    accuracy = fed.test(state, [0.1, 0.3, 0.5])
    assert accuracy.per_client.shape == (4, 3)
    assert customize(fed.method, state, 0.3)(torch.rand(2, *SHAPE)).shape == (2, 10)
