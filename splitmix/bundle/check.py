"""An exported file run by onnxruntime on the test images: its accuracy, and how far it is from PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitmix.bundle.deployed import Deployed
from splitmix.data.clients import ClientData
from splitmix.data.dataset import to_float
from splitmix.errors import UserError
from splitmix.federation.sampling import images_per_client
from splitmix.runs.loaded import LoadedRun
from splitmix.runtime.images import Array

BATCH = 128
TOLERANCE = 1e-4
"""Largest difference to PyTorch: of logits, relative to the largest one where that is above 1."""


@dataclass(frozen=True)
class Checked:
    """An exported model at one position of the dials.

    Attributes:
        sa: accuracy on the test images, mean over clients of each client's own.
        images: how many.
        difference: largest difference of a logit to PyTorch's, relative to the largest one where that is above 1.
    """

    width: float
    adv_lambda: float
    sa: float
    images: int
    difference: float


class TestImages:
    """The test images of a run, client after client.

    Args:
        max_images: use so many in all, equally many of every client; None means all.
    """

    __test__ = False  # the name is not a test's

    def __init__(self, run: LoadedRun, max_images: int | None):
        share = images_per_client(max_images, len(run.federation.clients))
        clients: list[ClientData] = list(run.federation.clients)
        self.rows = [client.test[:share] for client in clients]
        self.images, self.labels = run.dataset.test.images, run.dataset.test.labels

    def batches(self) -> Iterator[Tensor]:
        """Float images `[n, channels, h, w]`, in order."""
        for rows in torch.cat(self.rows).split(BATCH):
            yield to_float(self.images[rows]).contiguous()

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def accuracy(self, logits: Array) -> float:
        """Mean over clients of the accuracy of logits `[images, classes]`."""
        right = torch.from_numpy(logits.argmax(1)) == self.labels[torch.cat(self.rows)]
        shares = [part.double().mean().item() for part in right.split([len(rows) for rows in self.rows])]
        return float(np.mean(shares))


def session(path: Path, threads: int = 0) -> Any:
    """An ONNX file in onnxruntime on the CPU; UserError if it does not take it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    # Threads that wait in a loop slow down whatever else runs on the machine, and themselves.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever onnxruntime meets
        raise UserError(f"{path.name}: onnxruntime does not take it ({' '.join(str(error).split())[:200]})") from error


def check_dials(deployed: Deployed, path: Path, test: TestImages) -> list[Checked]:
    """model.onnx at every width and level of robustness.

    Raises:
        UserError: it differs from PyTorch by more than `TOLERANCE`.
    """
    running = session(path)
    checked = []
    for level in deployed.levels:
        expected = mixed_logits(deployed, level, test)
        for count, width in enumerate(deployed.run.widths, 1):
            dials: dict[str, Array] = {"base_models": np.array(count)}
            if deployed.dual:
                dials["adv_lambda"] = np.array(level, np.float32)

            def logits_of(images: Array, dials: dict[str, Array] = dials) -> Array:
                return np.asarray(running.run(["logits"], {"image": images, **dials})[0])

            logits = run_all(logits_of, test)
            difference = relative_difference(logits, expected[count - 1])
            refuse_difference(difference, f"width={width:g} adv_lambda={level:g}")
            checked.append(Checked(width, level, test.accuracy(logits), len(test), difference))
    return checked


@torch.no_grad()
def mixed_logits(deployed: Deployed, level: float, test: TestImages) -> Array:
    """PyTorch's logits of every width, `[base models, images, classes]`, from one pass."""
    network = deployed.model(len(deployed.run.widths), level).network
    lanes = torch.cat([network(images) for images in test.batches()], 1)
    counts = torch.arange(1, len(lanes) + 1).view(-1, 1, 1)
    return np.asarray((lanes.double().cumsum(0) / counts).float().numpy())


def run_all(function: Callable[[Array], Array], test: TestImages) -> Array:
    """Logits `[images, classes]` of a function of float batches."""
    return np.concatenate([np.asarray(function(images.numpy())) for images in test.batches()])


@torch.no_grad()
def torch_logits(model: nn.Module, test: TestImages) -> Array:
    """Logits `[images, classes]` of a PyTorch model."""
    return np.concatenate([model(images).numpy() for images in test.batches()])


def relative_difference(logits: Array, expected: Array) -> float:
    """The largest difference, relative to the largest logit where that is above 1."""
    return float(np.abs(logits - expected).max() / max(1.0, float(np.abs(expected).max())))


def refuse_difference(difference: float, where: str) -> None:
    """Raise UserError for an exported model that is not PyTorch's."""
    if not difference <= TOLERANCE:
        raise UserError(
            f"{where}: the exported model differs from PyTorch by {difference:.2g}, more than {TOLERANCE:g}, on the"
            " test images; nothing was written"
        )
