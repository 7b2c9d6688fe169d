"""A drawing or an uploaded picture of any size as the image that a run's networks take."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from splitmix.runtime.images import from_pil


def as_image(drawing: Image.Image, shape: tuple[int, int, int], inverted: bool = False) -> Tensor | None:
    """A picture as uint8 `[channels, h, w]`, cut to a square around its middle first, transparency made white.

    Args:
        drawing: a picture in any mode.
        shape: channels, height and width of an image of the run.
        inverted: exchange light and dark.

    Returns:
        None for a picture on which there is nothing: all of one colour.
    """
    picture: Any = drawing.convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    picture = paper.convert("RGB")
    if all(low == high for low, high in picture.getextrema()):
        return None
    if inverted:
        picture = ImageOps.invert(picture)
    _, height, width = shape
    picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(from_pil(picture, shape, resize=False))
