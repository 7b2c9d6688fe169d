"""Image files of a folder, as a tensor of the shape that a run's networks take."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from splitmix.errors import UserError
from splitmix.runtime.images import from_pil

SUFFIXES = (".png", ".jpg", ".jpeg")
FEWEST = 2


def read_images(folder: Path, shape: tuple[int, int, int], key: str) -> Tensor:
    """All images of a folder and its sub-folders, `[n, channels, h, w]` uint8, in the order of their names.

    Images of another size are resized bilinearly.

    Args:
        key: the key that named the folder, for messages.

    Raises:
        UserError: no such folder, fewer than two images, a file that is no image.
    """
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: no such folder; give train, or a folder of png or jpg images")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < FEWEST:
        raise UserError(f"{key}={folder}: holds {len(files)} png or jpg images; give at least {FEWEST}")
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                images.append(torch.from_numpy(from_pil(image, shape, resize=True)))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{key}={folder}: {file} cannot be read as an image ({error})") from error
    return torch.stack(images)
