"""Small deployments that tests share: nodes in this process, minidigits-like folders of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from splitmix.commands.help import composed
from splitmix.config import load_run_config, resolve
from splitmix.deploy.loopback import Loopback
from splitmix.deploy.node import Node
from splitmix.deploy.node_settings import NodeSettings
from splitmix.deploy.server import run_deployment
from splitmix.fleet import Fleet
from splitmix.runs.training import run_training

WORDS = [
    "dataset=folder", "dataset.image_size=8", "clients_per_domain=2", "batch_size=8", "rounds=2",
    "budget.widths=4-2-1-1", "engine.lanes=1", "engine.workers=1", "engine.threads=1", "engine.accelerator=cpu",
]  # fmt: skip


def noise_tree(root: Path, domains=("a", "b"), train=18, test=5) -> Path:
    """Folders of random images: two classes per domain."""
    generator = np.random.default_rng(0)
    for domain in domains:
        for split, count in (("train", train), ("test", test)):
            for label in "01":
                place = root / domain / split / label
                place.mkdir(parents=True)
                for number in range(count):
                    pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(place / f"{number}.png")
    return root


def run_words(root: Path, *words: str) -> dict:
    """A resolved config of a run on such a tree."""
    return resolve(composed("train", [*WORDS, f"dataset.root={root}", *words]))


def nodes_of(root: Path, memory: Path, ids=("0-0", "0-1", "1-0", "1-1")) -> dict[int, Node]:
    """Nodes that are clients of the run's partition, numbered from 100."""
    return {
        100 + number: Node(NodeSettings(name, str(memory), "folder", str(root), "partition", "cpu", 1))
        for number, name in enumerate(ids)
    }


def deploy(resolved: dict, folder: Path, handlers, fleet=None, resume=False):
    """Train on nodes in this process."""
    transport = Loopback({number: getattr(node, "answer", node) for number, node in handlers.items()})
    try:
        fleet = fleet or Fleet(round_seconds=900, wait_seconds=5)
        torch.set_num_threads(1)
        return run_deployment(load_run_config(resolved), folder, resolved, fleet, transport, resume)
    finally:
        transport.close()


def simulate(resolved: dict, folder: Path):
    """Train in memory."""
    torch.set_num_threads(1)
    return run_training(load_run_config(resolved), folder, resolved)
