"""A client alone, in another process that has nothing but its task and its images: the simulation's bits."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.plain_data import arrays, from_bytes, to_bytes
from splitmix.algorithms.scaffold import Scaffold
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import Aggregate, ClientTask, Update
from splitmix.data.dataset import ImageSet
from splitmix.engine.settings import EngineSettings
from splitmix.federation.client_side import ClientSettings, client_evaluate, client_update, copied
from splitmix.models.digit_cnn import DigitCNN

UNEQUAL = (0.125, 0.125, 0.25, 0.5)
ONE_LANE = EngineSettings(lanes=1, workers=1, threads=1)
CLIENT = """
import sys
from pathlib import Path

import torch

from splitmix.algorithms import fedavg, heterofl, scaffold, splitmix
from splitmix.algorithms.base import Problem
from splitmix.algorithms.plain_data import arrays, from_bytes, tensors_of, to_bytes
from splitmix.algorithms.values import ClientTask
from splitmix.data.dataset import ImageSet
from splitmix.federation.client_side import ClientSettings, client_update
from splitmix.engine.optimizers import SGD
from splitmix.models.digit_cnn import DigitCNN

torch.set_num_threads(1)
data = from_bytes(Path(sys.argv[1]).read_bytes())
algorithm = {"splitmix": splitmix.SplitMix, "fedavg": fedavg.FedAvg, "heterofl": heterofl.HeteroFL,
             "scaffold": scaffold.Scaffold}[data["algorithm"]](**data["settings"])
model = DigitCNN(bn=data["bn"])
method = algorithm.bind(model, Problem((3, 8, 8), 10, tuple(data["budgets"])))
images = ImageSet(torch.from_numpy(data["images"]), torch.from_numpy(data["labels"]), (len(data["labels"]),))
update, memory = client_update(method, ClientTask.from_dict(data["task"], model), tensors_of(data["memory"]), images,
                               ClientSettings(SGD(), batch_size=8, lanes=1), data["lr"])
Path(sys.argv[2]).write_bytes(to_bytes({"update": update.to_dict(), "memory": arrays(memory)}))
"""


@pytest.mark.parametrize(
    ("algorithm", "settings", "bn"),
    [
        pytest.param(SplitMix(), {}, "tracked", id="splitmix"),
        pytest.param(SplitMix(), {}, "local", id="splitmix with its own batch normalisation", marks=pytest.mark.slow),
        pytest.param(SplitMix(base_widths=UNEQUAL), {"base_widths": UNEQUAL}, "tracked", id="unequal base models"),
        pytest.param(FedAvg(0.125), {"width": 0.125}, "batch", id="fedavg", marks=pytest.mark.slow),
        pytest.param(HeteroFL(), {}, "batch", id="heterofl", marks=pytest.mark.slow),
        pytest.param(Scaffold(0.125), {"width": 0.125}, "batch", id="scaffold"),
    ],
)
@pytest.mark.slow
def test_a_client_in_another_process_computes_the_simulations_bits(federation, tmp_path, algorithm, settings, bn):
    fed = federation(algorithm, DigitCNN(bn=bn), engine=ONE_LANE)
    state = fed.run_round(fed.initial_state())[0]  # so that memories are no longer what all clients begin with
    lr = fed.optimizer.lr * fed.schedule.factor(1, fed.rounds)
    tasks = fed.method.plan(state, range(4), fed.seed)
    batches = [fed.batches(task.client, 1) for task in tasks]
    weights = [float(len(client.train)) for client in fed.clients]
    simulated = [copied(trained.update) for trained in fed.engine.train(state, tasks, batches, weights, lr)]
    after = fed.run_round(state)[0]
    for planned in tasks:
        # The first client in another process, the others in this one.
        run = alone if planned.client else partial(elsewhere, settings=settings, bn=bn, folder=tmp_path)
        update, memory = run(fed, state, planned, lr)
        assert update.weight == weights[planned.client]
        parts = [part for part in simulated if part.task.client == planned.client]
        assert sorted(row for part in parts for row in part.task.base_models) == sorted(planned.base_models)
        for part in parts:
            lanes = [update.task.base_models.index(row) for row in part.task.base_models]
            for kind in ("tensors", "extras", "measurements"):
                assert getattr(part, kind).keys() == getattr(update, kind).keys()
                for name, value in getattr(part, kind).items():
                    assert torch.equal(getattr(update, kind)[name][lanes], value), (planned.client, kind, name)
        for name, value in memory.items():
            assert torch.equal(value, after.clients[name][planned.client]), name


def images_of(fed, client):
    rows = fed.clients[client].train
    return ImageSet(fed.dataset.train.images[rows], fed.dataset.train.labels[rows], (len(rows),))


def memory_of(state, client):
    return {name: value[client] for name, value in state.clients.items()}


def alone(fed, state, planned, lr):
    task = fed.method.download(state, planned)
    settings = ClientSettings(fed.optimizer, fed.batch_size, lanes=1)
    torch.set_num_threads(1)
    images = images_of(fed, task.client)
    return client_update(fed.method, task, memory_of(state, task.client), images, settings, lr, ONE_LANE)


def elsewhere(fed, state, planned, lr, settings, bn, folder):
    images, task = images_of(fed, planned.client), fed.method.download(state, planned)
    content = {
        "algorithm": fed.method.name, "settings": settings, "bn": bn, "budgets": list(fed.budgets), "lr": lr,
        "task": task.to_dict(), "memory": arrays(memory_of(state, planned.client)),
        "images": images.images.numpy(), "labels": images.labels.numpy(),
    }  # fmt: skip
    (folder / "task").write_bytes(to_bytes(content))
    (folder / "client.py").write_text(CLIENT)
    subprocess.run([sys.executable, "client.py", "task", "update"], cwd=folder, check=True)
    answer = from_bytes((folder / "update").read_bytes())
    memory = {name: torch.from_numpy(np.array(value)) for name, value in answer["memory"].items()}
    return Update.from_dict(answer["update"], fed.method.model), memory


@pytest.mark.parametrize("bn", ["batch", "local"])
def test_a_client_evaluates_itself_as_the_federation_does(federation, bn):
    fed = federation(SplitMix(), DigitCNN(bn=bn), engine=ONE_LANE)
    state = fed.run_round(fed.initial_state())[0]
    accuracy = fed.test(state, [0.25, 1.0])
    groups = fed.method.mix_groups(state.tensors, [0.25, 1.0])
    for client in range(4):
        rows = fed.clients[client].test
        images = ImageSet(fed.dataset.test.images[rows], fed.dataset.test.labels[rows], (len(rows),))
        alone = client_evaluate(groups, images, memory=memory_of(state, client))
        assert torch.equal(alone.per_client[0], accuracy.per_client[client])


@pytest.mark.slow
def test_two_servers_that_saw_half_of_the_updates_each_know_as_much_as_one(federation):
    for algorithm, bn in ((SplitMix(), "tracked"), (HeteroFL(), "batch"), (Scaffold(0.125), "batch")):
        fed = federation(algorithm, DigitCNN(bn=bn), engine=ONE_LANE)
        state, method = fed.initial_state(), fed.method
        updates = [alone(fed, state, task, 0.1)[0] for task in method.plan(state, range(4), fed.seed)]
        halves = []
        for part in (updates[:2], updates[2:]):
            aggregate = method.no_updates(state)
            for update in part:
                aggregate = method.accumulate(aggregate, update)
            stored = from_bytes(to_bytes(aggregate.to_dict()))
            halves.append(Aggregate.from_dict(stored, method.model))
        together = method.finalise(state, method.combine(halves[1], halves[0]))
        for name, value in method.merge(state, updates).tensors.items():
            torch.testing.assert_close(together.tensors[name], value, rtol=1e-5, atol=1e-6)


def test_values_cross_a_disk_unchanged(federation):
    fed = federation(Scaffold(0.125))
    state = fed.initial_state()
    task = fed.method.download(state, fed.method.plan(state, [2], 0)[0])
    again = ClientTask.from_dict(from_bytes(to_bytes(task.to_dict())), fed.method.model)
    assert again.planned() == task.planned() and again.spec == task.spec
    for part in ("tensors", "context"):
        values = getattr(task, part)
        assert values and all(torch.equal(getattr(again, part)[name], value) for name, value in values.items())
    json.dumps({key: value for key, value in task.planned().to_dict().items()})


def test_a_client_without_a_batch_uploads_nothing(federation):
    fed = federation(SplitMix())
    state = fed.initial_state()
    task = fed.method.download(state, fed.method.plan(state, [0], 0)[0])
    lone = ImageSet(fed.dataset.train.images[:1], fed.dataset.train.labels[:1], (1,))
    assert client_update(fed.method, task, {}, lone, ClientSettings(fed.optimizer, 8), 0.1)[0] is None


def test_a_client_that_computes_in_float64_uploads_what_the_server_keeps(federation):
    fed = federation(FedAvg(0.125), DigitCNN(bn="local"))
    state = fed.initial_state()
    task = fed.method.download(state, fed.method.plan(state, [1], fed.seed)[0])
    settings, engine = ClientSettings(fed.optimizer, 8), replace(ONE_LANE, precision="64-true")
    update, memory = client_update(fed.method, task, memory_of(state, 1), images_of(fed, 1), settings, 0.1, engine)
    for name, value in {**update.tensors, **memory}.items():
        assert value.dtype == state.tensors[name].dtype, name
