"""Small federations that many tests share: random images, quick to train on."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from splitmix.data.dataset import Dataset, ImageSet
    from splitmix.federation.federation import Federation

# Before torch is imported: threads that wait for each other sleep, since tests may share their cores with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Torch is imported where it is used, below: the process that only hands out tests to others does without.
sys.path.insert(0, str(Path(__file__).parent))


def image_set(counts: tuple[int, ...], seed: int) -> ImageSet:
    import numpy as np
    import torch

    from splitmix.data.dataset import ImageSet

    generator = np.random.default_rng(seed)
    n = sum(counts)
    images = torch.from_numpy(generator.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8))
    return ImageSet(images, torch.from_numpy(generator.integers(0, 10, n)), counts)


@pytest.fixture
def dataset() -> Dataset:
    """Two domains of 3x8x8 noise, 96 and 90 train images, 20 and 24 test images."""
    from splitmix.data.dataset import Dataset

    classes = tuple(str(c) for c in range(10))
    return Dataset("noise", ("a", "b"), classes, image_set((96, 90), 0), image_set((20, 24), 1))


@pytest.fixture
def federation(dataset: Dataset) -> Callable[..., Federation]:
    """Makes a federation of 2 x 2 clients on the noise, with overrides."""

    from splitmix.engine.settings import EngineSettings
    from splitmix.federation.federation import Federation

    def make(*components: object, **settings: object) -> Federation:
        engine = EngineSettings(lanes=4, workers=1, threads=1)  # so little work that more threads only wait
        small = {"clients_per_domain": 2, "batch_size": 8, "rounds": 3, "engine": engine}
        return Federation(dataset, *components, **{**small, **settings})

    return make


def pytest_collection_finish() -> None:
    """What importing and collecting made is here to stay: looking for garbage among it takes a tenth of the time."""
    gc.collect()
    gc.freeze()
