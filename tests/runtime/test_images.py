"""Whatever a user calls an image becomes the same float batch; what does not fit ends in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from splitmix.errors import UserError
from splitmix.runtime.images import as_batch, from_pil

SHAPE = (3, 4, 5)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
EXPECTED = PIXELS.transpose(2, 0, 1)[None] / np.float32(255)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        EXPECTED[0],
        EXPECTED[0].astype(np.float64),
        torch.from_numpy(PIXELS),
        torch.from_numpy(EXPECTED[0]).requires_grad_(),
    ],
    ids=["PIL", "uint8 hwc", "uint8 chw", "float", "double", "uint8 tensor", "tensor with gradient"],
)
def test_one_image_in_any_form(image):
    batch, one = as_batch(image, SHAPE)
    assert one and batch.dtype == np.float32
    np.testing.assert_allclose(batch, EXPECTED, rtol=1e-6)


def test_batches_and_grey_images():
    batch, one = as_batch(np.stack([PIXELS, PIXELS]), SHAPE)
    assert not one and batch.shape == (2, *SHAPE)
    grey = PIXELS[..., 0]
    for image, alone in ((grey, True), (grey[None], True), (np.stack([grey] * 3), False), (grey[..., None], True)):
        batch, one = as_batch(image, (1, 4, 5))
        assert one == alone and batch.shape == (1 if alone else 3, 1, 4, 5)
        np.testing.assert_allclose(batch[-1, 0], grey / np.float32(255), rtol=1e-6)


def test_pil_images_are_resized_only_as_the_dataset_did():
    large = Image.fromarray(PIXELS).resize((50, 40))
    assert from_pil(large, SHAPE, resize=True).shape == SHAPE
    with pytest.raises(UserError, match="image of 40x50 pixels: this model takes 4x5"):
        as_batch(large, SHAPE)
    assert from_pil(large.convert("RGBA"), SHAPE, resize=True).shape == SHAPE


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a.png", "image of type str"),
        (np.zeros((3, 4, 6), np.uint8), r"image of shape \[3, 4, 6\]: this model takes \[3, 4, 5\]"),
        (np.zeros((0, 3, 4, 5), np.uint8), r"image of shape \[0, 3, 4, 5\]"),
        (np.zeros(SHAPE, np.int64), "image of int64: give uint8"),
        (np.full(SHAPE, 255.0), "image with values from 255 to 255"),
        (np.full(SHAPE, np.nan), "image with values from nan to nan"),
    ],
)
def test_mistakes_are_one_line(image, message):
    with pytest.raises(UserError, match=message) as error:
        as_batch(image, SHAPE)
    assert "\n" not in str(error.value)
