"""Accuracy with fixed statistics: that of the module that `customize` gives, the same for every client."""

import pytest
import torch

from splitmix.algorithms.sheterofl import SHeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.evaluation.statistics import CALIBRATION_IMAGES
from splitmix.federation.deployed import fixed_accuracy
from splitmix.models.digit_cnn import DigitCNN
from splitmix.runs.records import records_of
from splitmix.test_settings import TestSettings


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "adv_lambda"), [(SplitMix(), 0), (SplitMix(adv_lambda=0.5), 0.3), (SHeteroFL(), 0)]
)
@pytest.mark.slow
def test_it_is_the_accuracy_of_the_customised_model(federation, algorithm, adv_lambda, workers):
    fed = federation(algorithm, engine=EngineSettings(lanes=4, workers=workers, threads=1))
    state, _ = fed.run_round(fed.initial_state())
    accuracy = fixed_accuracy(fed, state, [0.25, 1.0], adv_lambda=adv_lambda, calibration=60)
    for column, width in enumerate(accuracy.widths):
        model = customize(fed.method, state, width, adv_lambda, calibration=fed.calibration_images(60))
        for client, share in zip(fed.clients, accuracy.per_client[:, column].tolist(), strict=True):
            right = model(fed.dataset.test.images[client.test] / 255).argmax(1) == fed.dataset.test.labels[client.test]
            assert share == pytest.approx(right.double().mean().item())


def test_it_can_be_that_on_validation_images(federation):
    fed = federation()
    state, train = fed.initial_state(), fed.dataset.train
    model = customize(fed.method, state, 0.25, calibration=fed.calibration_images())
    shares = fixed_accuracy(fed, state, [0.25], images="validation").per_client[:, 0]
    for client, share in zip(fed.clients, shares.tolist(), strict=True):
        right = model(train.images[client.val] / 255).argmax(1) == train.labels[client.val]
        assert share == pytest.approx(right.double().mean().item())


def test_no_batch_size_changes_it(federation):
    fed = federation()
    state = fed.initial_state()
    one, many = (fixed_accuracy(fed, state, [0.5, 1.0], batch_size=size) for size in (2, 128))
    assert torch.equal(one.per_client, many.per_client)


@pytest.mark.slow
def test_records_say_it_of_clean_tests_as_trained(federation):
    fed = federation()
    state = fed.initial_state()
    for settings, said in ((TestSettings(), True), (TestSettings(bn="post", max_images=8), False)):
        records = records_of(fed, state, settings, [0.25, 1.0], 0.0, "best", "a test")
        assert [("accuracy_fixed" in record) for record in records] == [said, said]
        if said:
            fixed = fixed_accuracy(fed, state, [0.25, 1.0])
            assert [record["accuracy_fixed"] for record in records] == list(fixed.mean().values())
    attacked = records_of(fed, state, TestSettings(max_images=8), [0.25], 0.0, "best", "", "a", fed.problem.attack)
    assert "accuracy_fixed" not in attacked[0]


@pytest.mark.parametrize("bn", ["tracked", "local"])
def test_statistics_kept_in_training_are_not_estimated_again(federation, monkeypatch, bn):
    fed = federation(None, DigitCNN(bn=bn))
    state, _ = fed.run_round(fed.initial_state())
    evaluate, tasks = fed.engine.evaluate, []
    monkeypatch.setattr(fed.engine, "evaluate", lambda state, task: tasks.append(task) or evaluate(state, task))
    [record] = records_of(fed, state, TestSettings(), [0.5], 0.0, "best", "a test")
    assert record["accuracy_fixed"] == record["accuracy"] and len(tasks) == 1
    assert torch.equal(fixed_accuracy(fed, state, [0.5]).per_client, fed.test(state, [0.5]).per_client)


def test_calibration_images_come_from_all_clients_alike_and_mixed(federation):
    fed = federation()
    images = fed.calibration_images(40)
    owner = torch.full((len(fed.dataset.train.images),), -1)
    for number, client in enumerate(fed.clients):
        owner[client.train] = number
    rows = [(fed.dataset.train.images == image).flatten(1).all(1).nonzero().item() for image in images]
    owners = owner[rows]
    assert images.dtype == torch.uint8 and len(set(rows)) == 40
    assert torch.bincount(owners).tolist() == [10] * 4  # none is a validation image, whose owner is -1
    assert all(len(set(part.tolist())) > 1 for part in owners.split(10))
    assert torch.equal(images, fed.calibration_images(40))
    assert not torch.equal(images, federation(seed=2).calibration_images(40))


def test_small_clients_give_what_they_have(federation):
    fed = federation()
    assert len(fed.calibration_images()) == sum(len(client.train) for client in fed.clients) < CALIBRATION_IMAGES
    with pytest.raises(UserError, match="count=1: give at least 2"):
        fed.calibration_images(1)
