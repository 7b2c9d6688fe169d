"""What every dataset becomes: uint8 images and labels, domain after domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    def __repr__(self) -> str:
        return f"ImageSet({len(self.labels)} images of {'×'.join(map(str, self.images.shape[1:]))}, {self.counts})"

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

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        domains: Any = None,
        *,
        test_fraction: float = 0.2,
        classes: Sequence[str] | None = None,
        name: str = "arrays",
        seed: int = 0,
    ) -> Dataset:
        """Your own images in memory: NumPy arrays, tensors or lists.

        Args:
            images: `[n, h, w]`, `[n, h, w, channels]` or `[n, channels, h, w]` with 1 or 3 channels; uint8 from 0 to
                255, or floats from 0 to 1.
            labels: `[n]`, class indices or names.
            domains: `[n]`, the name of each image's domain, in the order in which domains first appear; None is one.
            test_fraction: share of every class of every domain that is set aside for testing.
            classes: names of the classes in the order of the indices; None takes the numbers, or the names sorted.
            name: what tables call the dataset.
            seed: decides which images are for testing, and the order of the others.

        Raises:
            UserError: arrays that do not fit each other or are no images; a domain with too few images.
        """
        from splitmix.data.arrays import from_arrays

        return from_arrays(images, labels, domains, test_fraction, classes, name, seed)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.input_shape))
        sizes = f"{len(self.train.images)} training and {len(self.test.images)} test images of {shape}"
        return f"Dataset({self.name}: {sizes}; domains {', '.join(self.domains)}; {len(self.classes)} classes)"

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
