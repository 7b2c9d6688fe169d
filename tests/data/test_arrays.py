"""`Dataset.from_arrays`: layouts and types of images, names of classes and domains, the split, mistakes in one line."""

import numpy as np
import pytest
import torch

import splitmix
from splitmix.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(60) % 3


def test_every_image_is_in_one_split_once_with_its_label():
    marked = IMAGES.copy()
    marked[:, 0, 0, 0], marked[:, 0, 0, 1] = np.arange(60), LABELS
    data = splitmix.Dataset.from_arrays(marked, LABELS, ["b"] * 20 + ["a"] * 40, test_fraction=0.25)
    assert data.domains == ("b", "a") and data.classes == ("0", "1", "2") and data.name == "arrays"
    numbers = torch.cat([data.train.images, data.test.images])[:, 0, 0, 0].tolist()
    assert sorted(numbers) == list(range(60))
    for part in (data.train, data.test):
        assert part.images[:, 0, 0, 1].tolist() == part.labels.tolist()
        first = part.images[part.domain_slice(0), 0, 0, 0]
        assert len(first) == part.counts[0] and int(first.max()) < 20
    # A quarter of every class of every domain: of 7, 7 and 6 two, two and two (1.5 rounds to even), of 14, 13, 13 four,
    # three and three.
    assert data.test.counts == (6, 10)


def test_the_seed_decides_the_split():
    made = [splitmix.Dataset.from_arrays(IMAGES, LABELS, seed=seed).test.images for seed in (0, 0, 1)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (IMAGES, (3, 8, 8)),
        (IMAGES.transpose(0, 2, 3, 1), (3, 8, 8)),
        (IMAGES[:, 0], (1, 8, 8)),
        (torch.from_numpy(IMAGES) / 255, (3, 8, 8)),
        (IMAGES.astype(np.int64), (3, 8, 8)),
        (IMAGES.tolist(), (3, 8, 8)),
    ],
    ids=["channels first", "channels last", "grey", "float tensor", "whole numbers", "lists"],
)
def test_layouts_and_types_become_the_same_pixels(images, shape):
    data = splitmix.Dataset.from_arrays(images, LABELS)
    same = splitmix.Dataset.from_arrays(IMAGES if shape[0] == 3 else IMAGES[:, :1], LABELS)
    assert data.input_shape == shape and torch.equal(data.train.images, same.train.images)


def test_names_of_classes_are_sorted_or_as_given():
    names = np.array(["dog", "cat", "eel"])[LABELS]
    assert splitmix.Dataset.from_arrays(IMAGES, names).classes == ("cat", "dog", "eel")
    data = splitmix.Dataset.from_arrays(IMAGES, names, classes=["dog", "cat", "eel"])
    assert data.classes == ("dog", "cat", "eel")
    numbers = splitmix.Dataset.from_arrays(IMAGES, LABELS, classes=["dog", "cat", "eel"])
    assert torch.equal(data.train.labels, numbers.train.labels)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((IMAGES, LABELS[:-1]), "labels have the shape [59]: give one for each of the 60 images"),
        ((IMAGES, LABELS, ["a"] * 59), "domains have the shape [59]"),
        ((IMAGES * 1.0, LABELS), "images are float64 from 0 to 255: give uint8 from 0 to 255, or floats from 0 to 1"),
        ((IMAGES[:, :2], LABELS), "images have the shape [60, 2, 8, 8]: give [n, h, w]"),
        ((IMAGES * np.nan, LABELS), "images are float64 from nan to nan"),
        ((IMAGES, LABELS * 0.5), "labels are float64: give whole numbers or names"),
        ((IMAGES, LABELS - 1), "Dataset.train.labels lie from -1 to 1"),
        ((IMAGES, LABELS, np.arange(60)), "domains: 0 has 1 images, too few to set test_fraction=0.2"),
        (([*IMAGES[:3], IMAGES[0, :, :4]], LABELS[:4]), "images: they have several sizes; resize them to one"),
    ],
)
def test_mistakes_are_named_in_one_line(arguments, line):
    with pytest.raises(UserError) as caught:
        splitmix.Dataset.from_arrays(*arguments)
    assert line in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"test_fraction": 1.0}, "test_fraction=1.0: give a share between 0 and 1"),
        ({"labels": ["x"] * 60, "classes": ["y"]}, "labels: x is not among the classes y"),
    ],
)
def test_mistakes_in_keys_are_named(keys, line):
    with pytest.raises(UserError, match=line):
        splitmix.Dataset.from_arrays(**{"images": IMAGES, "labels": LABELS, **keys})


def test_a_federation_trains_on_it():
    engine = splitmix.EngineSettings(lanes=4, workers=1, threads=1)
    data = splitmix.Dataset.from_arrays(IMAGES, LABELS, test_fraction=0.2)
    federation = splitmix.Federation(
        data, clients_per_domain=2, batch_size=8, budget=splitmix.Groups("1"), engine=engine
    )
    state, _ = federation.run_round(federation.initial_state())
    assert 0 <= federation.test(state, [0.125]).mean()[0.125] <= 1
    assert repr(data) == "Dataset(arrays: 48 training and 12 test images of 3×8×8; domains all; 3 classes)"
