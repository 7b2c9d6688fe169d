"""A node's own images: loaded, and split into training, validation and test where they lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splitmix.config import RunConfig
from splitmix.data.augmentation import Augmentation
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.deploy.node_settings import NodeSettings
from splitmix.deploy.problem import ImageFacts
from splitmix.errors import UserError
from splitmix.randomness import rng


@dataclass(frozen=True)
class NodeData:
    """The images of one client, by split."""

    train: ImageSet
    val: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    augmentation: Augmentation | None

    @property
    def facts(self) -> ImageFacts:
        """What the server may know."""
        channels, height, width = self.train.images.shape[1:]
        counts = [len(images.images) for images in (self.train, self.val, self.test)]
        return ImageFacts(self.classes, (channels, height, width), *counts)


def load_node_data(config: RunConfig, settings: NodeSettings) -> NodeData:
    """Load this node's images by the run's dataset option, from the node's own root.

    Raises:
        UserError: the run is on another dataset, the images are not there, too few of them.
    """
    if config.dataset.name != settings.dataset:
        raise UserError(
            f"dataset={settings.dataset}: the run is on {config.dataset.name}; this node holds no such images"
        )
    source = replace(config.dataset, root=settings.root)
    source.check()
    dataset: Dataset = source.load(None, config.scalars.train_fraction)
    dataset.check()
    train, val, test = (
        own_split(config, dataset) if settings.split == "own" else partition_share(config, dataset, settings.client)
    )

    def picked(images: ImageSet, rows: Tensor) -> ImageSet:
        return ImageSet(images.images[rows], images.labels[rows], (len(rows),))

    return NodeData(
        picked(dataset.train, train),
        picked(dataset.train, val),
        picked(dataset.test, test),
        dataset.classes,
        dataset.augmentation,
    )


def own_split(config: RunConfig, dataset: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """Rows for training, validation and test: a seeded share of the training images is kept for validation.

    Raises:
        UserError: fewer than two images for training or validation.
    """
    count, fraction = len(dataset.train.images), config.scalars.val_fraction
    rows = torch.from_numpy(rng(config.scalars.seed, "own split").permutation(count))
    if not dataset.fraction_applied:
        rows = rows[: round(count * config.scalars.train_fraction)]
    kept = int(len(rows) * fraction)
    if kept < 2 or len(rows) - kept < 2:
        raise UserError(f"val_fraction={fraction:g}: {len(rows)} training images are too few; at least 2 in each part")
    return rows[: len(rows) - kept], rows[len(rows) - kept :], torch.arange(len(dataset.test.images))


def partition_share(config: RunConfig, dataset: Dataset, client: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows for training, validation and test of a client of the run's own partition (UserError: no such client)."""
    scalars = config.scalars
    fraction = 1.0 if dataset.fraction_applied else scalars.train_fraction
    clients = config.partition.split(dataset, scalars.clients_per_domain, fraction, scalars.val_fraction, scalars.seed)
    for data in clients:
        if data.id == client:
            return data.train, data.val, data.test
    raise UserError(f"client={client}: the run's partition has the clients {', '.join(data.id for data in clients)}")
