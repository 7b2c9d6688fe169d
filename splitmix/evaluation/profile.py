"""What the models of a method cost, by width: operations, parameters, traffic, and time on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter

import torch
from torch import Tensor, nn

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.evaluation.cost import cost, lane_cost
from splitmix.evaluation.customize import customize
from splitmix.payload import payload_bytes

TRAINING = 3  # forward, gradient by inputs, gradient by weights
WARM_UP = 2
WIDE = 0.5
"""Spread of a latency, as a share of its median, from which the machine was too busy to measure it."""


@dataclass(frozen=True)
class WidthCost:
    """The customised model of a width, and a client whose budget is that width.

    Attributes:
        macs: multiply-accumulates per image of the customised model.
        params: its parameters.
        latency_s: median seconds of a forward pass of a batch on this machine.
        latency_low_s, latency_high_s: its quartiles: half of the passes lie between.
        bytes_per_round: training payload of the client per round, each way.
        training_macs: multiply-accumulates of one training step of the client (3 x batch x forward, as in the paper's
            client figure).
    """

    width: float
    macs: float
    params: int
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    bytes_per_round: int
    training_macs: float


def profile(method: Method, widths: Sequence[float], batch_size: int, repeats: int) -> list[WidthCost]:
    """Costs by width; needs no trained weights."""
    state = method.initial_state(0)
    times = latencies(method, state, widths, batch_size, repeats)
    rows = []
    for width in widths:
        macs, params = cost(method, state, width)
        load = sum(lane_cost(spec)[0] * often for spec, often in method.training_load(width))
        low, middle, high = quartiles(times[width])
        rows.append(
            WidthCost(
                width,
                macs,
                params,
                middle,
                low,
                high,
                payload_bytes(method.upload_entries(width)),
                TRAINING * batch_size * load,
            )
        )
    return rows


@torch.no_grad()
def latencies(
    method: Method, state: ServerState, widths: Sequence[float], batch_size: int, repeats: int
) -> dict[float, list[float]]:
    """Seconds of every forward pass of the customised models on random images, by width."""
    models = {width: customize(method, state, width, client=0 if state.local else None) for width in widths}
    images = torch.rand(batch_size, *method.problem.input_shape).contiguous(memory_format=torch.channels_last)
    return seconds_in_turns(models, images, repeats)


def seconds_in_turns(models: Mapping[float, nn.Module], images: Tensor, repeats: int) -> dict[float, list[float]]:
    """Seconds of every forward pass of these models, after a warm-up.

    They take turns, so that whatever else runs on the machine slows all of them alike.
    """
    times: dict[float, list[float]] = {width: [] for width in models}
    for turn in range(WARM_UP + repeats):
        for width, model in models.items():
            start = perf_counter()
            model(images)
            if turn >= WARM_UP:
                times[width].append(perf_counter() - start)
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The values below which a quarter, a half and three quarters of them lie; those of a single value are itself."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return low, middle, high


def too_busy(rows: Sequence[WidthCost]) -> list[float]:
    """The widths whose latency differed so much between passes that its median says little."""
    return [row.width for row in rows if row.latency_high_s - row.latency_low_s > WIDE * row.latency_s]
