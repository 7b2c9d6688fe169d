"""What lanes start from, and what else is known of them while they are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from splitmix.algorithms.base import LaneBatch
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ClientTask, ServerState
from splitmix.models.network import Tensors
from splitmix.on_device import on_device

Fetch = Callable[[ClientTask], tuple[ClientTask, Tensors]]
"""Gives a planned task what its client downloads, and what the client remembers for its lanes."""


def fetch_from(method: Method, state: ServerState, finishing: bool = False) -> Fetch:
    """Downloads and clients' memories out of a simulated federation.

    Args:
        finishing: training is over, so that a download, which copies the model, is made only where it is still needed.
    """
    download = not finishing or method.uses_start or method.problem.malicious.changes_upload
    return lambda task: (method.download(state, task) if download else task, state.memory(task))


def part_of_lanes(lanes: LaneBatch, low: int, high: int) -> LaneBatch:
    """What is known of the lanes `low` up to `high`."""
    return replace(
        lanes,
        streams=lanes.streams[low:high],
        clients=lanes.clients[low:high],
        budgets=lanes.budgets[low:high],
        start={name: value[low:high] for name, value in lanes.start.items()},
        context={name: value[low:high] for name, value in lanes.context.items()},
        memory={name: value[low:high] for name, value in lanes.memory.items()},
        class_counts=lanes.class_counts[low:high],
    )


def side_by_side(parts: Sequence[Tensors], device: torch.device, dtype: torch.dtype) -> Tensors:
    """The lanes of all parts on the device, `[lanes, ...]`; floating-point values become `dtype`."""
    joined = {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else {})}
    return {
        name: on_device(value, device, dtype if value.is_floating_point() else None) for name, value in joined.items()
    }
