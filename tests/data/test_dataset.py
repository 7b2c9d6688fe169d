"""A dataset made in memory is checked: the message names the field, the value and the mend."""

from dataclasses import replace

import pytest
import torch

from splitmix.data.dataset import Dataset, ImageSet
from splitmix.errors import UserError
from splitmix.federation.federation import Federation


def image_set(n: int = 6, counts: tuple[int, ...] = (4, 2)) -> ImageSet:
    return ImageSet(torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.arange(n) % 2, counts)


GOOD = Dataset("mine", ("a", "b"), ("x", "y"), image_set(), image_set())


def test_a_good_dataset_passes():
    GOOD.check()


IMAGES, LABELS = GOOD.train.images, GOOD.train.labels
WRONG_SETS = {
    "Dataset.train.images are torch.float32: give torch.uint8 from 0 to 255": {"images": IMAGES.float()},
    "Dataset.train.images have the shape [6, 8, 8]: give [n, channels, height, width]": {"images": IMAGES[:, 0]},
    "Dataset.train.images have the shape [0, 3, 8, 8]": {"images": IMAGES[:0], "labels": LABELS[:0]},
    "Dataset.train.images is a ndarray: give a tensor": {"images": IMAGES.numpy()},
    "Dataset.train.labels are torch.int32: give torch.int64 (labels.long())": {"labels": LABELS.int()},
    "Dataset.train.labels: 5 labels for 6 images": {"labels": LABELS[:5]},
    "Dataset.train.labels have the shape [6, 1]: give [n]": {"labels": LABELS[:, None]},
    "labels lie from 0 to 2, but there are 2 classes: give labels from 0 to 1": {"labels": LABELS * 2},
    "labels lie from -1 to 0": {"labels": LABELS - 1},
    "counts=(4, 3): 2 counts that add up to 7, for 2 domains and 6 images": {"counts": (4, 3)},
    "counts=(6,): 1 counts": {"counts": (6,)},
    "counts=[4, 2]: give a tuple of whole numbers": {"counts": [4, 2]},
    "counts=(7, -1): give a tuple of whole numbers": {"counts": (7, -1)},
}
WRONG = {words: {"train": replace(GOOD.train, **changes)} for words, changes in WRONG_SETS.items()} | {
    "Dataset.domains=(): give at least one name": {"domains": ()},
    "Dataset.domains=('a', 'a'): give at least one name, and each once": {"domains": ("a", "a")},
    "Dataset.classes=(0, 1): give a tuple of texts": {"classes": (0, 1)},
    "Dataset.classes=xy: give a tuple of texts": {"classes": "xy"},
    "Dataset.test is a NoneType: give an ImageSet": {"test": None},
    "Dataset.test.images are [3, 4, 8] each, but those of train [3, 8, 8]": {
        "test": replace(GOOD.test, images=IMAGES[:, :, :4])
    },
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_named_before_training(words):
    with pytest.raises(UserError) as caught:
        Federation(replace(GOOD, **WRONG[words]))
    assert words in str(caught.value) and "\n" not in str(caught.value)
