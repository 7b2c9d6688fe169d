"""The benchmark that BlazeFL publishes (github.com/kitsuyaazuma/blazefl), in this framework: rounds per minute.

FedAvg of 100 clients of CIFAR-10, all in every round, 5 local epochs in batches of 50 at a learning rate of 0.1, four
fifths of a client's images for training and the rest for evaluation after it; the small CNN of PyTorch's tutorial, or
torchvision's ResNet-18 as it is. Without CIFAR-10's files the images are random, which takes the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmix.algorithms.fedavg import FedAvg
from splitmix.benchmarks.data import random_set
from splitmix.benchmarks.workloads import machine
from splitmix.data.cifar10 import CIFAR10
from splitmix.data.dataset import Dataset
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.federation.federation import Federation
from splitmix.federation.schedules import Constant
from splitmix.models.module import Module

CLIENTS, EPOCHS, BATCH, LR, VAL = 100, 5, 50, 0.1, 0.2
IMAGES = 50_000, 10_000


@dataclass(frozen=True)
class Published:
    """A network of the benchmark.

    Attributes:
        factory: makes it.
        rounds_per_minute: the best of BlazeFL's figures, on one A100 and 12 virtual cores.
    """

    factory: Callable[..., nn.Module]
    rounds_per_minute: float


class SmallCNN(nn.Module):
    """Two 5x5 convolutions of 6 and 16 channels, each pooled, and linear layers of 120 and 84 units: 62,006 values."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(images)))
        x = torch.flatten(self.pool(F.relu(self.conv2(x))), 1)
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        logits: Tensor = self.fc3(x)
        return logits


def small_cnn(width: float, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The tutorial's network; it has one width."""
    return SmallCNN(classes)


def resnet18(width: float, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's network, with its 7x7 stem of stride 2; it has one width."""
    from torchvision.models import resnet18 as of_torchvision

    network: nn.Module = of_torchvision(num_classes=classes)
    return network


NETWORKS = {"cnn": Published(small_cnn, 3.7), "resnet18": Published(resnet18, 1.63)}


def blazefl(engine: EngineSettings, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Rounds per minute of each network: of the median of `repeats` rounds, after a first one that does not count."""
    dataset, real = images(say)
    record: dict[str, Any] = {"machine": machine(engine), "images": "CIFAR-10" if real else "random", "networks": {}}
    for name, published in NETWORKS.items():
        with federation(dataset, published, engine, repeats + 1) as made:
            seconds = rounds(made, repeats)
            chosen = made.engine.describe()
        per_minute = 60 / median(seconds)
        record["networks"][name] = {
            "seconds": seconds, "rounds_per_minute": per_minute, "published": published.rounds_per_minute,
            "engine": chosen,
        }  # fmt: skip
        say(
            f"{name}: {per_minute:.3g} rounds a minute on {record['machine']}; BlazeFL's on an A100:"
            f" {published.rounds_per_minute:g}"
        )
    return record


def images(say: Callable[[str], None]) -> tuple[Dataset, bool]:
    """CIFAR-10, unaugmented, if its files are in data/cifar10, else random images of its shape; and which it is."""
    settings = CIFAR10(augment=False)
    try:
        settings.check()
    except UserError:
        say("CIFAR-10 is not in data/cifar10: the images are random")
        return random_images(*IMAGES), False
    return settings.load(say), True


def random_images(train: int, test: int) -> Dataset:
    """So many random images of CIFAR-10's shape."""
    generator = np.random.default_rng(0)
    names, shape = CIFAR10.classes, CIFAR10.input_shape
    train_set, test_set = (random_set(generator, count, shape, len(names)) for count in (train, test))
    return Dataset("random", ("random",), names, train_set, test_set)


def federation(dataset: Dataset, network: Published, engine: EngineSettings, count: int) -> Federation:
    """The benchmark's federation, of so many rounds."""
    return Federation(
        dataset,
        FedAvg(width=1.0),
        Module(network.factory, bn="tracked"),
        budget=Groups("1"),
        optimizer=SGD(lr=LR, momentum=0.0, weight_decay=0.0),
        schedule=Constant(),
        engine=engine,
        rounds=count,
        local_epochs=EPOCHS,
        batch_size=BATCH,
        clients_per_domain=CLIENTS,
        val_fraction=VAL,
    )


def rounds(made: Federation, repeats: int) -> list[float]:
    """Seconds of each round with its evaluation, but for the first."""
    state, seconds = made.initial_state(), []
    for _ in range(repeats + 1):
        start = perf_counter()
        state, _ = made.run_round(state)
        made.validate(state, made.method.widths)
        seconds.append(perf_counter() - start)
    return seconds[1:]
