"""What the models of a method cost, by width: operations, parameters, traffic, and time on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

from splitmix.algorithms.base import Method, ServerState
from splitmix.evaluation.cost import cost, lane_cost
from splitmix.evaluation.customize import customize

TRAINING = 3  # forward, gradient by inputs, gradient by weights
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class WidthCost:
    """The customised model of a width, and a client whose budget is that width.

    Attributes:
        macs: multiply-accumulates per image of the customised model.
        params: its parameters.
        latency_s: seconds of a forward pass of a batch on this machine.
        bytes_per_round: training payload of the client per round, each way.
        training_macs: multiply-accumulates of one training step of the client (3 x batch x forward, as in the paper's
            client figure).
    """

    width: float
    macs: float
    params: int
    latency_s: float
    bytes_per_round: int
    training_macs: float


def profile(method: Method, widths: Sequence[float], batch_size: int, repeats: int) -> list[WidthCost]:
    """Costs by width; needs no trained weights."""
    state = method.initial_state(0)
    rows = []
    for width in widths:
        macs, params = cost(state, width)
        load = sum(lane_cost(spec)[0] * times for spec, times in method.training_load(width))
        rows.append(
            WidthCost(
                width,
                macs,
                params,
                latency(state, width, batch_size, repeats),
                FLOAT32_BYTES * method.upload_entries(width),
                TRAINING * batch_size * load,
            )
        )
    return rows


@torch.no_grad()
def latency(state: ServerState, width: float, batch_size: int, repeats: int) -> float:
    """Median seconds of a forward pass of the customised model on random images."""
    model = customize(state, width, client=0 if state.local else None)
    shape = state.method.mix_groups({}, [width])[0].spec.input_shape
    images = torch.rand(batch_size, *shape).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(repeats + 2):
        start = perf_counter()
        model(images)
        times.append(perf_counter() - start)
    return median(times[2:])
