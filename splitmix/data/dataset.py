"""What every dataset becomes: uint8 images and labels, domain after domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.data.augmentation import Augmentation
from splitmix.errors import UserError

MENDS = {
    "images": " from 0 to 255, such as (images * 255).round().to(torch.uint8) for values from 0 to 1",
    "labels": " (labels.long())",
}


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

    def check(self, split: str, domains: int, classes: int) -> None:
        """Refuse images and labels that do not fit each other; `split` names them in messages.

        Raises:
            UserError: another type or shape, labels out of range, counts that do not add up.
        """
        where = f"Dataset.{split}"
        for name, tensor, dtype, sizes in (
            ("images", self.images, torch.uint8, "[n, channels, height, width]"),
            ("labels", self.labels, torch.int64, "[n]"),
        ):
            if not isinstance(tensor, Tensor):
                raise UserError(f"{where}.{name} is a {type(tensor).__name__}: give a tensor (torch.as_tensor)")
            if tensor.dtype != dtype:
                raise UserError(f"{where}.{name} are {tensor.dtype}: give {dtype}{MENDS[name]}")
            if tensor.dim() != len(sizes.split(",")) or 0 in tensor.shape:
                raise UserError(f"{where}.{name} have the shape {list(tensor.shape)}: give {sizes}, none of them 0")
        n, counts = len(self.images), self.counts
        if len(self.labels) != n:
            raise UserError(f"{where}.labels: {len(self.labels)} labels for {n} images: give one for each")
        if not isinstance(counts, tuple) or not all(type(count) is int and count >= 0 for count in counts):
            raise UserError(f"{where}.counts={counts}: give a tuple of whole numbers, the images of each domain")
        if len(counts) != domains or sum(counts) != n:
            raise UserError(
                f"{where}.counts={counts}: {len(counts)} counts that add up to {sum(counts)}, for {domains} domains and"
                f" {n} images: give one for each domain, adding up to the images"
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= classes:
            raise UserError(
                f"{where}.labels lie from {low} to {high}, but there are {classes} classes: give labels from 0 to"
                f" {classes - 1}, or name more classes"
            )

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

    def check(self) -> None:
        """Refuse what is no dataset, before anything is trained on it; costs one pass over the labels.

        Raises:
            UserError: names that are not texts, or a split that does not fit; the message names the field.
        """
        for field in ("domains", "classes"):
            names = getattr(self, field)
            if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
                raise UserError(f"Dataset.{field}={names}: give a tuple of texts, such as ('a', 'b')")
            if not names or len(set(names)) != len(names):
                raise UserError(f"Dataset.{field}={names}: give at least one name, and each once")
        for split in ("train", "test"):
            images = getattr(self, split)
            if not isinstance(images, ImageSet):
                raise UserError(f"Dataset.{split} is a {type(images).__name__}: give an ImageSet")
            images.check(split, len(self.domains), len(self.classes))
        shapes = [list(images.images.shape[1:]) for images in (self.train, self.test)]
        if shapes[0] != shapes[1]:
            raise UserError(f"Dataset.test.images are {shapes[1]} each, but those of train {shapes[0]}: give one shape")

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
