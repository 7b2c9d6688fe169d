"""Clients that lie: each attack against a plain computation, who attacks, which base models, packed or alone."""

import math
from dataclasses import replace

import pytest
import torch
from variants import mostly_slow

from splitmix.algorithms.aggregation import Median
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fiarse import FIARSE
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.malicious import Backdoor, GaussianNoise, Honest, LabelFlip, ModelReplacement, SignFlip
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import ImageSet
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.client_side import ClientSettings, client_update
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import parameter_entries
from splitmix.runs.results import describe_run

ONE_LANE = EngineSettings(lanes=1, workers=1, threads=1)
EVERYBODY = 1.0


def batch(n=5, classes=10):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 6, 6), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, classes, (n,), generator=generator)


def test_a_label_flip_mirrors_the_classes():
    images, labels = batch()
    before, flipped = images.clone(), labels.clone()
    LabelFlip().poison(images, flipped, 10)
    assert torch.equal(images, before) and flipped.tolist() == [9 - label for label in labels.tolist()]
    assert LabelFlip().seen(torch.tensor([1.0, 0.0, 0.0])).tolist() == [0, 0, 1]


def test_a_backdoor_stamps_a_share_of_the_batch_and_relabels_it():
    images, labels = batch()
    stamped, relabelled = images.clone(), labels.clone()
    Backdoor(target=7, patch_size=2, images=0.5).poison(stamped, relabelled, 10)
    for number in range(5):
        poisoned = number < math.ceil(0.5 * 5)
        assert relabelled[number] == (7 if poisoned else labels[number])
        for row in range(6):
            for column in range(6):
                white = poisoned and row >= 4 and column >= 4
                expected = [255] * 3 if white else images[number, :, row, column].tolist()
                assert stamped[number, :, row, column].tolist() == expected
    assert Backdoor(target=1).seen(torch.tensor([1.0, 0.0, 0.0])).tolist() == [1, 1, 0]


def test_the_patch_at_test_is_the_one_in_training():
    images, labels = batch()
    attack = Backdoor(patch_size=2, images=1.0)
    tested = attack.patch.perturb(lambda changed: changed, images / 255, labels, None)
    attack.poison(images, labels, 10)
    assert torch.equal(tested, images / 255)


def test_attackers_are_drawn_by_seed_and_a_larger_share_adds_to_a_smaller():
    few, many = (LabelFlip(share).attackers(50, 1) for share in (0.1, 0.3))
    assert (len(few), len(many)) == (5, 15) and few < many and max(many) < 50
    assert LabelFlip(0.1).attackers(50, 2) != few
    assert LabelFlip(0.0).attackers(50, 1) == Honest().attackers(50, 1) == frozenset()
    assert LabelFlip(EVERYBODY).attackers(4, 1) == {0, 1, 2, 3}


def uploaded(fed, client, lanes=1):
    """What a client of a federation downloads and uploads in the first round, by itself."""
    state = fed.initial_state()
    task = fed.method.download(state, fed.method.plan(state, [client], fed.seed)[0])
    rows = fed.clients[client].train
    images = ImageSet(fed.dataset.train.images[rows], fed.dataset.train.labels[rows], (len(rows),))
    torch.set_num_threads(1)  # as the federation's engine does
    settings = ClientSettings(fed.optimizer, fed.batch_size, seed=fed.seed, lanes=lanes)
    memory = {name: value[client] for name, value in state.clients.items()}
    update, remembered = client_update(fed.method, task, memory, images, settings, 0.1, ONE_LANE)
    return task, update, remembered


@pytest.mark.parametrize(
    ("attack", "plain"),
    [
        (SignFlip(EVERYBODY, scale=2.0), lambda trained, start: start - 2 * (trained - start)),
        (ModelReplacement(EVERYBODY, boost=5.0, images=1e-9), lambda trained, start: start + 5 * (trained - start)),
    ],
)
def test_an_upload_is_claimed_as_a_plain_computation_says(federation, attack, plain):
    # A backdoor in next to no image still poisons one of each batch: the comparison trains on it too.
    data = Backdoor(EVERYBODY, images=1e-9) if isinstance(attack, Backdoor) else Honest()
    reference = federation(SplitMix(), DigitCNN(bn="tracked"), malicious=data)
    liars = federation(SplitMix(), DigitCNN(bn="tracked"), malicious=attack)
    task, trained, _ = uploaded(reference, 1)
    _, claimed, _ = uploaded(liars, 1)
    names = parameter_entries(task.spec)
    assert 0 < len(names) < len(claimed.tensors)
    for name, value in claimed.tensors.items():
        expected = plain(trained.tensors[name], task.tensors[name]) if name in names else trained.tensors[name]
        assert torch.equal(value, expected), name


def test_noise_has_its_standard_deviation_and_repeats(federation):
    fed = federation(FedAvg(0.125), malicious=GaussianNoise(EVERYBODY, std=0.5))
    task, trained, _ = uploaded(federation(FedAvg(0.125)), 0)
    (_, first, _), (_, again, _) = uploaded(fed, 0), uploaded(fed, 0)
    names = sorted(parameter_entries(task.spec))
    noise = torch.cat([(first.tensors[name] - trained.tensors[name]).flatten() for name in names])
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02) and abs(float(noise.mean())) < 0.01
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in names)


def test_what_stays_with_the_client_is_no_lie(federation):
    local, liars = (
        federation(FedAvg(0.125), DigitCNN(bn="local"), malicious=attack) for attack in (None, SignFlip(EVERYBODY))
    )
    (_, _, honest), (_, _, remembered) = uploaded(local, 0), uploaded(liars, 0)
    assert honest and all(torch.equal(value, remembered[name]) for name, value in honest.items())


def rounds(fed, count=1):
    state = fed.initial_state()
    for _ in range(count):
        state, _ = fed.run_round(state)
    return state


ONE_BASE_MODEL = [
    LabelFlip(0.5, base_models=(2,)),
    Backdoor(0.5, base_models=(2,)),
    SignFlip(0.5, base_models=(2,)),
    GaussianNoise(0.5, base_models=(2,)),
    ModelReplacement(0.5, base_models=(2,)),
]


@pytest.mark.parametrize("attack", mostly_slow(ONE_BASE_MODEL, 4), ids=[attack.name for attack in ONE_BASE_MODEL])
def test_only_one_base_model_is_poisoned(federation, attack):
    honest, poisoned = (rounds(federation(SplitMix(), malicious=m, engine=ONE_LANE)) for m in (None, attack))
    for name, value in honest.tensors.items():
        others = [base_model for base_model in range(8) if base_model != 2]
        assert torch.equal(value[others], poisoned.tensors[name][others]), name
    weight = "conv2.weight"
    assert not torch.equal(honest.tensors[weight][2], poisoned.tensors[weight][2])


@pytest.mark.parametrize("attack", ONE_BASE_MODEL[1:2] + ONE_BASE_MODEL[3:4], ids=["backdoor", "noise"])
def test_packed_lanes_are_poisoned_as_one_at_a_time(federation, attack):
    one, packed = (
        rounds(federation(SplitMix(), malicious=attack, engine=EngineSettings(lanes=lanes, workers=1, threads=1)))
        for lanes in (1, 8)
    )
    for name, value in one.tensors.items():
        torch.testing.assert_close(packed.tensors[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("attack", [Backdoor(EVERYBODY, base_models=(0, 3)), SignFlip(EVERYBODY)])
def test_a_client_alone_lies_as_in_the_simulation(federation, attack):
    fed = federation(SplitMix(), malicious=attack, engine=ONE_LANE)
    state = fed.initial_state()
    tasks = fed.method.plan(state, [1], fed.seed)
    batches, weights = [fed.batches(1, 0)], [float(len(fed.clients[1].train))]
    _, update, _ = uploaded(fed, 1)
    seen = []
    for trained in fed.engine.train(state, tasks, batches, weights, 0.1):
        for lane, base_model in enumerate(trained.update.task.base_models):
            seen.append(base_model)
            place = update.task.base_models.index(base_model)
            for name, value in trained.update.tensors.items():
                assert torch.equal(update.tensors[name][place], value[lane]), name
    assert sorted(seen) == sorted(update.task.base_models)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "attack"),
    [(HeteroFL(label_aware=True), LabelFlip(EVERYBODY)), (FIARSE(), SignFlip(EVERYBODY))],
    ids=["label-aware HeteroFL", "FIARSE, which uploads changes"],
)
def test_other_methods_can_be_attacked_too(federation, algorithm, attack):
    honest, poisoned = (rounds(federation(algorithm, malicious=m)) for m in (None, attack))
    different = [name for name, value in honest.tensors.items() if not torch.equal(value, poisoned.tensors[name])]
    assert "fc3.weight" in different and all(value.isfinite().all() for value in poisoned.tensors.values())


def test_the_results_name_the_attackers(federation):
    fed = federation(malicious=LabelFlip(0.5))
    named = [client["id"] for client in describe_run(fed, {})["clients"] if client.get("malicious")]
    assert named == [fed.clients[number].id for number in sorted(fed.problem.malicious.attackers(4, fed.seed))]
    assert len(named) == 2 and not any("malicious" in client for client in describe_run(federation(), {})["clients"])


def test_a_median_forgets_one_liar_that_drags_the_mean_away(federation):
    start = federation(FedAvg(0.125)).initial_state().tensors["fc3.weight"]
    moved = {}
    for name, rule in (("mean", None), ("median", Median())):
        fed = federation(FedAvg(0.125), malicious=GaussianNoise(0.25, std=100.0), aggregation=rule)
        assert len(fed.method.problem.malicious.attackers(4, fed.seed)) == 1
        moved[name] = float((rounds(fed).tensors["fc3.weight"] - start).abs().mean())
    assert moved["mean"] > 10 and moved["median"] < 1


@pytest.mark.parametrize(
    ("attack", "algorithm", "message"),
    [
        (
            LabelFlip(base_models=(0,)),
            FedAvg(0.125),
            r"malicious.base_models=\[0\]: algorithm=fedavg has no base",
        ),
        (
            LabelFlip(base_models=(8,)),
            SplitMix(),
            r"malicious.base_models=\[8\]: there are 8; give numbers from 0",
        ),
        (Backdoor(target=10), SplitMix(), "malicious.target=10: there are 10 classes"),
        (Backdoor(patch_size=9), SplitMix(), "malicious.patch_size=9: the images have 8x8 pixels"),
    ],
)
def test_what_the_federation_does_not_have_is_refused(federation, attack, algorithm, message):
    with pytest.raises(UserError, match=message):
        federation(algorithm, malicious=attack)


@pytest.mark.parametrize(
    ("attack", "key"),
    [
        (LabelFlip(1.5), "share=1.5"),
        (LabelFlip(base_models=()), r"base_models=\[\]"),
        (SignFlip(scale=0.0), "scale=0"),
        (GaussianNoise(std=-1.0), "std=-1"),
        (Backdoor(images=0.0), "images=0"),
        (Backdoor(patch_size=0), "patch_size=0"),
        (Backdoor(target=-1), "target=-1"),
        (ModelReplacement(boost=0.0), "boost=0"),
    ],
)
def test_values_out_of_range(attack, key):
    with pytest.raises(UserError, match=f"malicious.{key}"):
        attack.check()
    replace(attack, **{field: getattr(type(attack)(), field) for field in vars(attack)}).check()
