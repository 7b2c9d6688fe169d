"""How many lanes a GPU has memory for: planned from what a lane takes in a training step, not found by running out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.trial_steps import TrialSteps
from splitmix.models.kept_tensors import KeptTensors, storage_of
from splitmix.models.network import NetworkSpec
from splitmix.models.unpacked import unstack

SHARE = 0.75
"""Of the free memory, what lanes may take. The rest is for gradients of activations and the working space of layers."""


def planned_lanes(trainer: LaneTrainer, spec: NetworkSpec, batch_size: int) -> int:
    """The largest power of two of lanes that fits into the free memory of the trainer's CUDA device, at least 1."""
    fitting = int(SHARE * free_memory(trainer.place.device) / lane_bytes(trainer, spec, batch_size))
    # A power of two, so that a little more or less free memory does not change how lanes are packed.
    return 1 << max(0, fitting.bit_length() - 1)


def free_memory(device: torch.device) -> int:
    """Bytes of a CUDA device that this process can have, those that PyTorch holds without use among them."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + unused)


def lane_bytes(trainer: LaneTrainer, spec: NetworkSpec, batch_size: int) -> int:
    """Bytes that a further lane takes in a training step.

    They hold its parameters, their gradients, the optimizer's state, and what the forward pass keeps for the backward
    pass; of several passes, as adversarial training has, those of the one that keeps most.
    """
    one, two = (step_bytes(TrialSteps(trainer, spec, lanes, batch_size)) for lanes in (1, 2))
    trainer.cache.clear()
    return two - one


def step_bytes(steps: TrialSteps) -> int:
    """Bytes that lie in memory at once in a training step."""
    unstack(steps.trainable.network)
    with KeptTensors(steps.trainable.tensors.values()) as kept:
        steps.step(0)
    lasting = {storage_of(tensor) for tensor in lasting_tensors(steps)}
    return kept.most + sum(size for _, size in lasting)


def lasting_tensors(steps: TrialSteps) -> Iterator[Tensor]:
    """Parameters, statistics, gradients and the optimizer's state."""
    yield from steps.trainable.tensors.values()
    yield from (parameter.grad for parameter in steps.trainable.network.parameters() if parameter.grad is not None)
    for state in steps.trainable.whole.optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
