"""Speed of data: files to tensors, and augmented batches beside torchvision's transforms in a DataLoader."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from splitmix.data.augmentation import CropFlip, augment
from splitmix.data.cifar10 import CIFAR10, FOLDER, TEST, TRAIN
from splitmix.data.dataset import ImageSet, to_float
from splitmix.data.partition import Uniform
from splitmix.randomness import rng

PER_FILE = 10_000
CLIENTS = 100
BATCH = 128


def random_set(generator: np.random.Generator, count: int, shape: Sequence[int], classes: int) -> ImageSet:
    """So many images of random pixels and labels, of one domain.

    Args:
        shape: channels, height and width.
    """
    pixels = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(generator.integers(0, classes, count)), (count,))


def data_times(say: Callable[[str], None]) -> dict[str, float]:
    """Seconds of reading a data set of CIFAR-10's size and layout, and of a pass over all clients' augmented images.

    The pictures are random. One thread each; the DataLoader has no workers.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder) / FOLDER)
        start = perf_counter()
        data = CIFAR10(folder).load()
        record = {"read_s": perf_counter() - start}
    say(f"50,000 + 10,000 images from files to tensors: {record['read_s']:.2f} s")
    clients = Uniform().split(data, CLIENTS, 1.0, 0.1, 1)
    rows = [client.train for client in clients]
    record["ours_s"] = ours(data.train, rows)
    record["torchvision_s"] = torchvisions(data.train, rows)
    record["speedup"] = record["torchvision_s"] / record["ours_s"]
    say(
        f"augmented batches, {CLIENTS} clients of {len(rows[0])} images: {record['ours_s']:.2f} s, torchvision in a"
        f" DataLoader {record['torchvision_s']:.2f} s: {record['speedup']:.1f} x"
    )
    torch.set_num_threads(threads)
    return record


def write_files(folder: Path) -> None:
    """Random pictures in the layout of CIFAR-10."""
    folder.mkdir()
    generator = rng(0, "benchmark")
    for name in (*TRAIN, *TEST):
        pixels = generator.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)
        labels = generator.integers(0, 10, PER_FILE).tolist()
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}, protocol=2))


def ours(images: ImageSet, clients: list[torch.Tensor]) -> float:
    """Seconds of gathering, augmenting and converting every batch of every client."""
    start = perf_counter()
    for number, rows in enumerate(clients):
        generator = rng(0, "augmentation", number)
        order = rows[torch.from_numpy(generator.permutation(len(rows)))]
        for batch in order.split(BATCH):
            to_float(augment(images.images.index_select(0, batch), CropFlip(), [generator]))
    return perf_counter() - start


class Pictures(TorchDataset[tuple[torch.Tensor, int]]):
    """A client's images as PIL pictures with torchvision's transforms, as a plain simulator has them."""

    def __init__(self, images: ImageSet, rows: torch.Tensor):
        self.pictures = [Image.fromarray(image) for image in images.images[rows].permute(0, 2, 3, 1).numpy()]
        self.labels = images.labels[rows].tolist()
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def torchvisions(images: ImageSet, clients: list[torch.Tensor]) -> float:
    """Seconds of a pass of every client's DataLoader; making the pictures does not count."""
    seconds = 0.0
    for rows in clients:
        loader = DataLoader(Pictures(images, rows), batch_size=BATCH, shuffle=True)
        start = perf_counter()
        for _ in loader:
            pass
        seconds += perf_counter() - start
    return seconds
