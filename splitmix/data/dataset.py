"""What every dataset becomes: uint8 images and labels, domain after domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.data.augmentation import Augmentation


@dataclass(frozen=True)
class ImageSet:
    """Images of one split, all domains concatenated in domain order.

    Attributes:
        images: uint8 `[n, channels, height, width]`, pixel range 0 to 255.
        labels: int64 `[n]`, class indices.
        counts: number of images per domain; they add up to `n`.
    """

    images: Tensor
    labels: Tensor
    counts: tuple[int, ...]

    def domain_slice(self, domain: int) -> slice:
        """Rows of `images` and `labels` that belong to domain number `domain`."""
        start = sum(self.counts[:domain])
        return slice(start, start + self.counts[domain])


@dataclass(frozen=True)
class Dataset:
    """A classification dataset of one or more domains.

    Attributes:
        name: the name under `conf/dataset`.
        domains: domain names, in the order in which clients are dealt.
        classes: class names; labels index them.
        train, test: the two splits; both list the domains in the same order.
        augmentation: how training images are changed in every batch; None leaves them.
        fraction_applied: `train_fraction` has already chosen what is in `train`.
    """

    name: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    augmentation: Augmentation | None = None
    fraction_applied: bool = False

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def to_float(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images to float in [0, 1] (float ones keep their values).

    No mean or deviation is taken out, since attacks clip to [0, 1]. Channels last: the faster layout for lanes.
    """
    # To float first: turning bytes around takes longer than turning floats around.
    values = images.to(dtype).contiguous(memory_format=torch.channels_last)
    return values.div_(255) if images.dtype == torch.uint8 else values
