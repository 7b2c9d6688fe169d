"""What a user calls an image (PIL, NumPy, PyTorch), as the float batch that networks take; needs numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from splitmix.errors import UserError

Array = np.ndarray[Any, Any]
BILINEAR = 2
"""PIL's number of the bilinear filter."""


def from_pil(image: Any, shape: tuple[int, int, int], resize: bool) -> Array:
    """A PIL image as uint8 `[channels, height, width]`; colours as datasets of image files take them.

    Args:
        resize: resize an image of another size bilinearly, as the run's dataset did.

    Raises:
        UserError: another size, and no `resize`.
    """
    channels, height, width = shape
    if channels == 1:
        image = image.convert("L")
    else:
        image = image if len(image.getbands()) == 3 else image.convert("L")
        image = image if image.mode == "RGB" else image.convert("RGB")
    if image.size != (width, height):
        if not resize:
            raise UserError(f"image of {image.size[1]}x{image.size[0]} pixels: this model takes {height}x{width}")
        image = image.resize((width, height), BILINEAR)
    pixels = np.array(image, dtype=np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def as_batch(image: Any, shape: tuple[int, int, int], resize: bool = False) -> tuple[Array, bool]:
    """One image or a batch as float32 `[n, channels, height, width]` in [0, 1], and whether it was one alone.

    Args:
        image: a PIL image; or an array or tensor, uint8 or float in [0, 1], of the shape `[c, h, w]`, `[h, w, c]`,
            `[h, w]` for one channel, or one of these with n in front.
        shape: channels, height, width that the model takes.
        resize: for PIL images, see `from_pil`.

    Raises:
        UserError: another type or size, values outside [0, 1].
    """
    if hasattr(image, "getbands"):
        image = from_pil(image, shape, resize)
    elif hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise UserError(f"image of type {type(image).__name__}: give a PIL image, a NumPy array or a tensor")
    channels, height, width = shape
    if channels == 1 and image.ndim in (2, 3) and image.shape[-2:] == (height, width) and image.shape != shape:
        image = image[..., None, :, :]  # grey images without a channel
    one = image.ndim == 3
    batch = image[None] if one else image
    if batch.ndim == 4 and batch.shape[1:] != shape and batch.shape[1:] == (height, width, channels):
        batch = batch.transpose(0, 3, 1, 2)
    if batch.ndim != 4 or batch.shape[1:] != shape or len(batch) == 0:
        raise UserError(f"image of shape {list(image.shape)}: this model takes {list(shape)}, or several of them")
    if batch.dtype == np.uint8:
        return np.ascontiguousarray(batch, dtype=np.float32) / np.float32(255), one
    if batch.dtype.kind != "f":
        raise UserError(f"image of {batch.dtype}: give uint8 from 0 to 255 or floats from 0 to 1")
    batch = np.ascontiguousarray(batch, dtype=np.float32)
    if not (batch.min() >= 0 and batch.max() <= 1):
        raise UserError(
            f"image with values from {batch.min():g} to {batch.max():g}: give uint8, or floats from 0 to 1, image / 255"
        )
    return batch, one
