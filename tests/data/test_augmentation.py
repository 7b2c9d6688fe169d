"""Augmentation of batches: against torchvision, on every path, seeded per client."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as tv

from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.augmentation import CropFlip, FlipRotate, augment
from splitmix.data.dataset import Dataset
from splitmix.engine.settings import EngineSettings
from splitmix.federation.federation import Federation


class Fixed:
    """A generator of draws given in advance."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def integers(self, low, high, shape):
        return np.broadcast_to(np.asarray(self.draws.pop(0)), shape).copy()

    def uniform(self, low, high, shape):
        return np.broadcast_to(np.asarray(self.draws.pop(0)), shape).copy()


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, (5, 3, 12, 10), dtype=np.uint8))


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (-3, 2), (3, -1)])
def test_a_crop_is_torchvisions(images, flip, down, right):
    offsets = np.array([down, right]).reshape(2, 1, 1)
    got = augment(images, CropFlip(3), [Fixed(offsets, flip)])
    padded = tv.pad(images, [3, 3])
    expected = tv.crop(padded, 3 + down, 3 + right, 12, 10)
    assert torch.equal(got, tv.hflip(expected) if flip else expected)


@pytest.mark.parametrize("angle", [0.0, 90.0, -90.0, 17.0, -30.0])
@pytest.mark.parametrize("flip", [0, 1])
def test_a_rotation_is_torchvisions(flip, angle):
    images = torch.from_numpy(np.random.default_rng(1).integers(1, 256, (3, 3, 31, 31), dtype=np.uint8))
    got = augment(images, FlipRotate(90), [Fixed(flip, angle)])
    expected = tv.rotate(tv.hflip(images) if flip else images, angle)
    # Pixels whose source lies half-way between two may be rounded either way.
    assert (got == expected).float().mean() > 0.985


def test_draws_differ_by_image_and_repeat_by_generator(images):
    repeated = images[:1].repeat(64, 1, 1, 1)
    for augmentation in (CropFlip(4), FlipRotate(30)):
        first, second = (augment(repeated, augmentation, [np.random.default_rng(3)]) for _ in range(2))
        assert torch.equal(first, second) and len(torch.unique(first.flatten(1), dim=0)) > 30
        halves = augment(repeated, augmentation, [np.random.default_rng(3), np.random.default_rng(3)])
        assert torch.equal(halves[:32], halves[32:])
        assert not torch.equal(augment(repeated, augmentation, [np.random.default_rng(4)]), first)


@pytest.fixture
def augmented(dataset):
    return Dataset(
        dataset.name, dataset.domains, dataset.classes, dataset.train, dataset.test, augmentation=CropFlip(2)
    )


@pytest.mark.slow
def test_every_engine_path_sees_the_same_augmented_images(augmented, dataset):
    settings = {"clients_per_domain": 2, "batch_size": 8, "rounds": 3}
    states = []
    for lanes, workers in ((1, 1), (3, 1), (64, 1), (2, 2)):
        engine = EngineSettings(lanes=lanes, workers=workers, threads=1, precision="64-true")
        fed = Federation(augmented, SplitMix(), engine=engine, **settings)
        states.append(fed.run_round(fed.initial_state())[0].tensors)
        fed.engine.close()
    for other in states[1:]:
        for name, value in states[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-6, atol=1e-6)
    plain = Federation(
        dataset, SplitMix(), engine=EngineSettings(lanes=3, workers=1, threads=1, precision="64-true"), **settings
    )
    assert not torch.allclose(plain.run_round(plain.initial_state())[0].tensors["fc3.weight"], states[0]["fc3.weight"])


def test_validation_and_test_images_are_not_augmented(augmented, dataset):
    engine = EngineSettings(lanes=8, workers=1, threads=1)
    one, two = (Federation(data, clients_per_domain=2, batch_size=8, engine=engine) for data in (augmented, dataset))
    state = one.initial_state()
    for evaluate in ("validate", "test"):
        accuracies = [getattr(fed, evaluate)(state, [0.25]).per_client for fed in (one, two)]
        assert torch.equal(*accuracies)
