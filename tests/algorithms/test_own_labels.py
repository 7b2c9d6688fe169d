"""Rules of HeteroFL's and FedRolex's authors: clients that count equally, and classes that a client lacks."""

import pytest
import torch
import torch.nn.functional as F

from splitmix.algorithms.base import LaneBatch, LocalTraining, Problem
from splitmix.algorithms.fedrolex import FedRolex
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.own_labels import PRESENT
from splitmix.algorithms.values import Update
from splitmix.data.dataset import ImageSet
from splitmix.data.partition_label_dirichlet import LabelDirichlet
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.federation.client_side import ClientSettings, client_update
from splitmix.models.channels import classifier_entries
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.preresnet18 import PreResNet18
from splitmix.models.vit import ViT

SHAPE = (3, 8, 8)


def bound(algorithm, budgets=(0.25, 0.25)):
    return algorithm.bind(DigitCNN(), Problem(SHAPE, 10, budgets))


def present(*classes):
    return torch.zeros(10).index_fill_(0, torch.tensor(classes), 1.0)


def updates_of(method, classes, samples=(30.0, 10.0)):
    """Updates of clients 0 and 1, all of whose entries are 0 and 1."""
    state = method.initial_state(0)
    updates = []
    for client, (task, weight) in enumerate(zip(method.plan(state, [0, 1], 0), samples, strict=True)):
        tensors = {name: torch.full_like(v, client) for name, v in method.download(state, task).tensors.items()}
        result = method.finish(task, {}, tensors, LocalTraining(0.1, 1, present(*classes[client])))
        updates.append(Update(task, weight, result.tensors, result.extras))
    return state, updates


@pytest.mark.parametrize("model", [DigitCNN(), PreResNet18(), ViT()])
def test_the_entries_with_a_row_for_each_class_are_the_classifiers(model):
    spec = HeteroFL().bind(model, Problem((3, 16, 16), 10, (0.125, 0.25))).full
    names = classifier_entries(spec)
    assert sorted(name.rpartition(".")[2] for name in names) == ["bias", "weight"]
    assert len({name.rpartition(".")[0] for name in names}) == 1


@pytest.mark.parametrize("algorithm", [HeteroFL, FedRolex])
def test_a_row_is_averaged_over_the_clients_that_have_its_class(algorithm):
    method = bound(algorithm(label_aware=True))
    state, updates = updates_of(method, [(0, 1), (1, 2)])
    merged = method.merge(state, updates).tensors
    for name in classifier_entries(method.full):
        rows, before = merged[name][0], state.tensors[name][0]
        assert (rows[0] == 0).all() and (rows[2] == 1).all()
        torch.testing.assert_close(rows[1], torch.full_like(rows[1], 0.25))  # 10 of 40 samples
        assert torch.equal(rows[3:], before[3:])  # nobody has these
    torch.testing.assert_close(merged["conv1.weight"], torch.full_like(merged["conv1.weight"], 0.25))


def test_a_client_gives_a_row_no_more_weight_than_its_own():
    method = bound(HeteroFL(label_aware=True))
    state, updates = updates_of(method, [(0,), (0,)])
    updates[1].extras[PRESENT].mul_(1e6)
    name = classifier_entries(method.full)[0]
    assert float(method.merge(state, updates).tensors[name][0, 0].max()) == pytest.approx(0.25)


def test_clients_may_count_equally():
    for weighting, mean in (("samples", 0.25), ("clients", 0.5)):
        method = bound(HeteroFL(weighting=weighting))
        merged = method.merge(*updates_of(method, [(0,), (0,)])).tensors
        assert float(merged["conv1.weight"][0, 0, 0, 0, 0]) == pytest.approx(mean)


def test_the_loss_masks_the_classes_that_the_client_lacks_and_no_others():
    method = bound(HeteroFL(label_aware=True))
    network = method.spec(0.25).build(2).train()
    images, labels = torch.rand(4, *SHAPE), torch.tensor([[0, 0, 1, 1], [5, 5, 5, 5]])
    has = torch.stack([present(0, 1, 7), present(5)])  # lane 0 has class 7, which its batch lacks
    losses = method.objective(network, LaneBatch(images, labels, [], class_counts=has)).loss
    logits = network(images)
    for lane in range(2):
        masked = logits[lane].clone()
        masked[:, has[lane] == 0] = 0
        torch.testing.assert_close(losses[lane], F.cross_entropy(masked, labels[lane]))


def test_where_every_client_has_every_class_it_is_plain_heterofl(federation):
    plain, aware = (
        federation(HeteroFL(label_aware=value), budget=Groups("8-4"), clients_per_domain=1) for value in (False, True)
    )
    states = [one.run_round(one.initial_state())[0] for one in (plain, aware)]
    assert all(len(plain.dataset.train.labels[client.train].unique()) == 10 for client in plain.clients)
    for name, value in states[0].tensors.items():
        torch.testing.assert_close(states[1].tensors[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_lanes_together_equal_one_lane_at_a_time_where_clients_have_few_classes(federation, workers):
    states = []
    for lanes, processes in ((1, 1), (4, workers)):
        # In float32 the way that a processor adds up moves single weights by more than 1e-4.
        engine = EngineSettings(lanes=lanes, workers=processes, threads=1, precision="64-true")
        fed = federation(
            HeteroFL(label_aware=True), partition=LabelDirichlet(0.2, 4), budget=Groups("4"), engine=engine
        )
        states.append(fed.run_round(fed.initial_state())[0])
        fed.engine.close()
    for name, value in states[0].tensors.items():
        torch.testing.assert_close(states[1].tensors[name], value, rtol=1e-6, atol=1e-6)


def test_a_client_alone_uploads_the_classes_of_its_images(federation):
    fed = federation(HeteroFL(label_aware=True), budget=Groups("4"), partition=LabelDirichlet(0.2, 4))
    state = fed.initial_state()
    [task] = fed.method.plan(state, [1], 0)
    rows = fed.clients[1].train
    images = ImageSet(fed.dataset.train.images[rows], fed.dataset.train.labels[rows], (len(rows),))
    settings = ClientSettings(fed.optimizer, fed.batch_size)
    update, _ = client_update(fed.method, fed.method.download(state, task), {}, images, settings, 0.05)
    assert len(images.labels.unique()) < 10
    assert update.extras[PRESENT][0].nonzero().flatten().tolist() == images.labels.unique().tolist()
    assert fed.method.upload_entries(0.25) == fed.method.download_entries(0.25) + 10


@pytest.mark.parametrize("algorithm", [HeteroFL, FedRolex])
def test_another_weighting_is_refused(algorithm):
    with pytest.raises(UserError, match=r"algorithm\.weighting=rounds: choose samples or clients"):
        bound(algorithm(weighting="rounds"))
