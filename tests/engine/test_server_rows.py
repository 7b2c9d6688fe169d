"""Lanes that start and are added up on the device: the same server as from updates that come back one by one."""

import math
from dataclasses import replace

import pytest
import torch

from splitmix.algorithms.aggregation import Median
from splitmix.algorithms.calfat import CalFAT
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedavg_oat import FedAvgOAT
from splitmix.algorithms.fedprox import FedProx
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.malicious import GaussianNoise, LabelFlip
from splitmix.algorithms.scaffold import Scaffold
from splitmix.algorithms.server_optimizers import ServerAdam
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.partition_dirichlet import Dirichlet
from splitmix.engine.engine import Engine
from splitmix.engine.packing import plan_packs
from splitmix.engine.server_rows import ServerRows, lanes_are_rows
from splitmix.engine.settings import EngineSettings
from splitmix.engine.shares import Follower
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.vit import ViT
from splitmix.privacy.settings import DPFedAvg
from splitmix.robustness.attacks import FGSM
from splitmix.robustness.kl_pgd import KLPGD

# In float64: in float32 an activation within rounding of zero may fall on either side of a ReLU.
EXACT = EngineSettings(lanes=3, workers=1, threads=1, precision="64-true")
TRACKED = DigitCNN(bn="tracked")
DUAL = SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.4)
ROWS = {
    "splitmix": {},
    "counters": {"model": TRACKED},
    "vit": {"model": ViT(patch=4)},
    "two of four clients": {"model": TRACKED, "clients_per_round": 2},
    "unequal clients": {"partition": Dirichlet(0.5)},
    "server optimizer": {"server_optimizer": ServerAdam()},
    "dat": {"algorithm": DUAL, "model": TRACKED, "train_attack": FGSM()},
    "fedavg": {"algorithm": FedAvg(0.125)},
    "fedprox": {"algorithm": FedProx(0.125)},
    "oat": {"algorithm": FedAvgOAT(0.125), "model": TRACKED, "train_attack": FGSM()},
    "calfat": {"algorithm": CalFAT(0.125), "model": TRACKED, "train_attack": KLPGD(steps=1)},
    "lies about labels": {"malicious": LabelFlip(0.5)},
}
OTHERS = {
    "norms of clients": {"model": DigitCNN(bn="local")},
    "control variates": {"algorithm": Scaffold(0.125)},
    "slices": {"algorithm": HeteroFL()},
    "a rule that sees every update": {"aggregation": Median()},
    "lies about models": {"malicious": GaussianNoise(0.5)},
}


QUICK = ("counters", "two of four clients", "fedavg", "norms of clients", "a rule that sees every update")


def names(cases):
    """The names of cases, most of them slow."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in cases]


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Add up lanes on the device wherever the method allows it; returns how often that was begun."""
    begun = []
    monkeypatch.setattr(Engine, "adds_on_device", lambda engine, state: lanes_are_rows(engine.method, state))
    make = ServerRows.__init__
    monkeypatch.setattr(ServerRows, "__init__", lambda *arguments: (begun.append(1), make(*arguments))[1])
    return begun


def two_rounds(fed):
    """The server after two rounds, and what was measured."""
    state, first = fed.run_round(fed.initial_state())
    state, second = fed.run_round(state)
    return state, [(metrics.loss, metrics.accuracy) for metrics in (first, second)]


def assert_equal(state, expected, bits=False):
    assert state.round == expected.round
    for ours, theirs in ((state.tensors, expected.tensors), (state.server, expected.server)):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name].dtype == value.dtype and ours[name].device == value.device
            if bits:
                assert torch.equal(ours[name], value), name
            else:
                torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", names(ROWS))
def test_the_server_is_the_same(federation, request, name):
    expected, measured = two_rounds(federation(**{"engine": EXACT, **ROWS[name]}))
    begun = request.getfixturevalue("as_on_a_gpu")
    state, ours = two_rounds(federation(**{"engine": EXACT, **ROWS[name]}))
    assert len(begun) == 2
    assert_equal(state, expected)
    assert ours == [pytest.approx(pair, rel=1e-5) for pair in measured]
    again, _ = two_rounds(federation(**{"engine": EXACT, **ROWS[name]}))
    assert_equal(again, state, bits=True)


@pytest.mark.parametrize("name", names(OTHERS))
def test_what_needs_more_than_a_sum_of_rows_gets_every_update(federation, request, name):
    expected, measured = two_rounds(federation(**OTHERS[name]))
    begun = request.getfixturevalue("as_on_a_gpu")
    state, ours = two_rounds(federation(**OTHERS[name]))
    assert not begun and ours == measured
    assert_equal(state, expected, bits=True)


def test_privacy_clips_every_update_by_itself(federation, as_on_a_gpu):
    fed = federation(privacy=DPFedAvg(noise_multiplier=1.0), model=ViT(patch=4))
    fed.run_round(fed.initial_state())
    assert not as_on_a_gpu


def test_one_lane_at_a_time_sends_every_update(federation, monkeypatch):
    """So that its sums are the same bits with any number of ranks."""
    one, packed = (federation(engine=replace(EXACT, lanes=lanes)) for lanes in (1, 3))
    for fed in (one, packed):
        monkeypatch.setattr(type(fed.fabric), "device", torch.device("cuda"))
    assert not one.engine.adds_on_device(one.initial_state())
    assert packed.engine.adds_on_device(packed.initial_state())


def test_memory_that_runs_out_while_lanes_are_added_adds_none_twice(federation, as_on_a_gpu, monkeypatch):
    expected, _ = two_rounds(federation(engine=EXACT, model=TRACKED))
    product, calls = torch.Tensor.double, []

    def with_little_memory(tensor):
        calls.append(tensor.shape)
        if len(calls) == 3:  # with some entries of a pack done, and others not
            raise torch.OutOfMemoryError("CUDA out of memory")
        return product(tensor)

    monkeypatch.setattr(torch.Tensor, "double", with_little_memory)
    fed = federation(engine=EXACT, model=TRACKED)
    state, _ = two_rounds(fed)
    assert len(calls) > 3 and fed.engine.tuned
    assert_equal(state, expected)


def test_a_rank_answers_with_the_same_sums(federation, request):
    fed = federation(engine=EXACT, model=TRACKED)
    state = fed.initial_state()
    tasks = fed.method.plan(state, range(4), 0)
    packs = plan_packs(tasks, [fed.batches(task.client, 0) for task in tasks], fed.engine.lanes_of)
    weights = {task.client: 1.0 + task.client for task in tasks}
    rank_task = packs, range(len(packs)), weights, list(weights), {}
    common = 0, state.tensors, {}, 0.1, False
    shares = []
    for fixture in (None, "as_on_a_gpu"):
        if fixture:
            request.getfixturevalue(fixture)
        follower = Follower(1)
        follower.engine = fed.engine
        shares.append(follower.train(common, rank_task))
    usual, ours = shares
    assert ours.aggregate.sums.keys() == usual.aggregate.sums.keys()
    for name, value in usual.aggregate.sums.items():
        torch.testing.assert_close(ours.aggregate.sums[name], value, rtol=1e-5, atol=1e-5)
    for name, value in usual.aggregate.latest.items():
        assert torch.equal(ours.aggregate.latest[name], value)
    assert torch.equal(ours.aggregate.latest_client, usual.aggregate.latest_client)
    for (_, one), (_, other) in zip(ours.trained, usual.trained, strict=True):
        assert one.in_sums and one.sums is None and not one.update.tensors
        assert one.update.task == other.update.task and math.isclose(one.update.weight, other.update.weight)
        assert torch.equal(one.update.measurements["loss"], other.update.measurements["loss"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ROWS)
def test_a_gpu_gives_the_server_of_a_cpu(federation, name):
    expected, _ = two_rounds(federation(**{"engine": EXACT, **ROWS[name]}))
    gpu = EngineSettings(accelerator="cuda", precision="64-true", lanes=64)
    state, _ = two_rounds(federation(**{"engine": gpu, **ROWS[name]}))
    assert_equal(state, expected)
