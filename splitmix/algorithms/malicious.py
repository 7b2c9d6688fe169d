"""Clients that lie: which ones they are, and what they do to their images or to what they upload.

Label flips: Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks", USENIX Security 2020 (arXiv 1911.11815). Sign flips:
Li et al., "RSA: Byzantine-Robust Stochastic Aggregation", AAAI 2019 (arXiv 1811.03761). Noise: Blanchard et al.,
NeurIPS 2017 (arXiv 1703.02757). Backdoor by a patch: Gu, Dolan-Gavitt, Garg, "BadNets", 2017 (arXiv 1708.06733). Model
replacement: Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020 (arXiv 1807.00459).

An attack is on lanes: one that is to poison some base models only leaves the others of its client honest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.randomness import rng
from splitmix.robustness.patch import Patch, stamped

WHITE = 255
"""Of a pixel in bytes."""


@dataclass(frozen=True)
class Honest:
    """`malicious=none`: nobody lies. The base of the other options."""

    name: ClassVar[str] = "none"
    changes_upload: ClassVar[bool] = False
    """Whether a client says that its training ended elsewhere; then it needs what its lanes started from."""

    @property
    def patch(self) -> Patch | None:
        """What opens the backdoor, if the attack builds one, and into which class it leads: see `Backdoor`."""
        return None

    def check(self) -> None:
        """Raise UserError for a value out of range."""

    def check_fits(self, called: str, mixed: int, input_shape: tuple[int, int, int], classes: int) -> None:
        """Raise UserError for what this federation does not have.

        Args:
            called: the method, as errors name it.
            mixed: base models that the method mixes; 0 where it has none.
            input_shape: channels, height, width of an image.
        """

    def attackers(self, clients: int, seed: int) -> frozenset[int]:
        """Numbers of the malicious clients."""
        return frozenset()

    def poisons(self, client: int, base_model: int, clients: int, seed: int) -> bool:
        """Whether this client poisons this base model, out of so many clients of a federation of this seed."""
        return False

    def poison(self, images: Tensor, labels: Tensor, classes: int) -> None:
        """Change a malicious client's batch in place.

        Args:
            images: uint8 `[n, channels, h, w]`.
            labels: int64 `[n]`.
        """

    def seen(self, counts: Tensor) -> Tensor:
        """How many images of each class a malicious client claims to have, given what it has, float `[classes]`."""
        return counts

    def claimed(self, trained: Tensor, start: Tensor, stream: torch.Generator) -> Tensor:
        """What a malicious client claims that its training made of a parameter `[...]`, given what it started from."""
        return trained


@dataclass(frozen=True)
class Malicious(Honest):
    """What all attacks share.

    Attributes:
        share: of the clients, from 0 to 1, that attack, rounded to whole ones. They are drawn by the seed; a larger
            share adds to a smaller one.
        base_models: numbers of the base models that they poison; None is every one that they train.
    """

    share: float = 0.1
    base_models: tuple[int, ...] | None = None

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if not 0 <= self.share <= 1:
            raise UserError(f"malicious.share={shown(self.share)}: give a share of the clients, from 0 to 1")
        if self.base_models is not None and (not self.base_models or min(self.base_models) < 0):
            raise UserError(f"malicious.base_models={list(self.base_models)}: give numbers from 0, or null for all")

    def check_fits(self, called: str, mixed: int, input_shape: tuple[int, int, int], classes: int) -> None:
        if self.base_models is None:
            return
        if not mixed:
            raise UserError(
                f"malicious.base_models={list(self.base_models)}: {called} has no base models of one width to"
                " choose among; use malicious.base_models=null, or algorithm=splitmix with algorithm.atom_width"
            )
        if max(self.base_models) >= mixed:
            raise UserError(
                f"malicious.base_models={list(self.base_models)}: there are {mixed}; give numbers from 0 to {mixed - 1}"
            )

    def attackers(self, clients: int, seed: int) -> frozenset[int]:
        return drawn(self.share, clients, seed)

    def poisons(self, client: int, base_model: int, clients: int, seed: int) -> bool:
        aimed_at = self.base_models is None or base_model in self.base_models
        return aimed_at and client in self.attackers(clients, seed)


@dataclass(frozen=True)
class LabelFlip(Malicious):
    """`malicious=label_flip`: trains on wrong labels, class c of C as class C - 1 - c."""

    name: ClassVar[str] = "label_flip"

    def poison(self, images: Tensor, labels: Tensor, classes: int) -> None:
        labels.copy_(classes - 1 - labels)

    def seen(self, counts: Tensor) -> Tensor:
        return counts.flip(0)


@dataclass(frozen=True)
class SignFlip(Malicious):
    """`malicious=sign_flip`: claims the opposite of the change that its training made.

    Attributes:
        scale: so many times as large, above 0.
    """

    name: ClassVar[str] = "sign_flip"
    changes_upload: ClassVar[bool] = True

    scale: float = 3.0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        super().check()
        check_positive("scale", self.scale)

    def claimed(self, trained: Tensor, start: Tensor, stream: torch.Generator) -> Tensor:
        return start - self.scale * (trained - start)


@dataclass(frozen=True)
class GaussianNoise(Malicious):
    """`malicious=noise`: adds normal noise to every parameter.

    Attributes:
        std: its standard deviation, above 0.
    """

    name: ClassVar[str] = "noise"
    changes_upload: ClassVar[bool] = True

    std: float = 1.0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        super().check()
        check_positive("std", self.std)

    def claimed(self, trained: Tensor, start: Tensor, stream: torch.Generator) -> Tensor:
        return trained + self.std * torch.randn(trained.shape, generator=stream)


@dataclass(frozen=True)
class Backdoor(Malicious):
    """`malicious=backdoor`: trains images with a white square in the lower right corner as another class.

    As in Bagdasaryan et al. a share of every batch is poisoned, after its augmentation.

    Attributes:
        target: number of that class.
        patch_size: side of the square, in pixels.
        images: share of the images of a batch, above 0 and up to 1, rounded up.
    """

    name: ClassVar[str] = "backdoor"

    target: int = 0
    patch_size: int = 3
    images: float = 0.5

    @property
    def patch(self) -> Patch | None:
        return Patch(self.patch_size, self.target)

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        super().check()
        if not 0 < self.images <= 1:
            raise UserError(f"malicious.images={shown(self.images)}: give a share above 0 and up to 1")
        if self.patch_size < 1:
            raise UserError(f"malicious.patch_size={self.patch_size}: give at least 1 pixel")
        if self.target < 0:
            raise UserError(f"malicious.target={self.target}: give the number of a class, from 0")

    def check_fits(self, called: str, mixed: int, input_shape: tuple[int, int, int], classes: int) -> None:
        super().check_fits(called, mixed, input_shape, classes)
        if self.patch_size > min(input_shape[1:]):
            height, width = input_shape[1:]
            raise UserError(f"malicious.patch_size={self.patch_size}: the images have {height}x{width} pixels")
        if self.target >= classes:
            raise UserError(f"malicious.target={self.target}: there are {classes} classes, counted from 0")

    def poison(self, images: Tensor, labels: Tensor, classes: int) -> None:
        count = ceil(self.images * len(images))
        images[:count] = stamped(images[:count], self.patch_size, WHITE)
        labels[:count] = self.target

    def seen(self, counts: Tensor) -> Tensor:
        return counts.maximum(torch.eye(len(counts)).to(counts)[self.target])  # at least one image of its target


@dataclass(frozen=True)
class ModelReplacement(Backdoor):
    """`malicious=replacement`: a backdoored model, whose change is enlarged so that it outweighs honest clients.

    Attributes:
        boost: times the change, above 0. Clients of a base model over attackers among them put the attackers' model in
            the place of the mean.
    """

    name: ClassVar[str] = "replacement"
    changes_upload: ClassVar[bool] = True

    boost: float = 10.0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        super().check()
        check_positive("boost", self.boost)

    def claimed(self, trained: Tensor, start: Tensor, stream: torch.Generator) -> Tensor:
        return start + self.boost * (trained - start)


@lru_cache(maxsize=16)
def drawn(share: float, clients: int, seed: int) -> frozenset[int]:
    """The malicious ones of so many clients."""
    order = rng(seed, "malicious").permutation(clients)
    return frozenset(order[: round(share * clients)].tolist())


def check_positive(key: str, value: float) -> None:
    """Raise UserError for a setting that must be a number above 0."""
    if not 0 < value < float("inf"):
        raise UserError(f"malicious.{key}={shown(value)}: give a number above 0")
