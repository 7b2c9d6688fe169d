"""From measured devices to a fleet: budgets, who trains what, time and bytes of a round; `splitmix plan`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from splitmix.algorithms.algorithm import method_of
from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.config_hash import without_added
from splitmix.deploy.device import Device, Measured
from splitmix.errors import UserError
from splitmix.federation.budgets import GRID, Groups
from splitmix.federation.fleet_round import FleetRounds
from splitmix.federation.sampling import participants
from splitmix.fleet import Fleet, FleetClient
from splitmix.payload import payload_bytes

DIGITS = 4
"""Significant digits of seconds in a fleet's file: more were not measured."""
SEED = 1


def methods_to_probe(
    dataset: Any, budget: Groups, algorithm: Any, model: Any, attack: Any, image_size: int | None
) -> list[tuple[float, Method]]:
    """Every budget that makes a difference, ascending, with a method whose first client has it.

    Raises:
        UserError: a method by which a budget costs more in one round than in another.
    """
    listed = sorted(set(budget.listed() or GRID))
    method = method_of(dataset, budget, listed, algorithm, model, attack, image_size)
    if method.varies:
        raise UserError(
            f"{method.called} gives a budget base models of different cost from round to round, so that no one time is"
            " its; probe algorithm=splitmix with algorithm.atom_width"
        )
    widths = method.widths
    return [
        (width, method_of(dataset, budget, (width, *listed), algorithm, model, attack, image_size)) for width in widths
    ]


def settings_of(values: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """What decides how long a step takes, as plain values for a file.

    Args:
        values: the resolved config of the verb.
    """
    groups = {group: dict(values[group]) for group in ("algorithm", "model")}
    return {**groups, "image_shape": list(problem.input_shape), "classes": problem.classes}


def check_settings(device: Device, name: str, settings: Mapping[str, Any]) -> None:
    """Raise UserError unless a device was probed with these settings.

    Args:
        name: of its file.
    """
    for group, value in settings.items():
        # A device may have been probed with a version that lacked a key.
        measured, value = (without_added(group, node) for node in (device.settings.get(group), value))
        if measured == value:
            continue
        if isinstance(value, Mapping) and isinstance(measured, Mapping):
            key = next((k for k in {**value, **measured} if value.get(k) != measured.get(k)), "")
            if not key:  # a key that the version that probed it lacked, at null
                continue
            group, measured, value = f"{group}.{key}", measured.get(key), value.get(key)
        raise UserError(
            f"{name}: it was probed with {group}={str(measured)[:60]}, but this plan has {str(value)[:60]}; give both"
            " the same settings"
        )


@dataclass(frozen=True)
class Wishes:
    """What a plan is to keep; see `conf/plan.yaml`. `max_memory` is in bytes."""

    clients: int | None = None
    slower: tuple[float, ...] = (1.0,)
    round_seconds: float | None = None
    max_memory: int | None = None
    drop_out: float = 0.0
    straggler: float = 1.0
    min_clients: int = 1


@dataclass(frozen=True)
class Member:
    """A client of the plan: its device, so many times as slow as measured, and what its budget costs there."""

    device: Device
    slower: float
    measured: Measured

    @property
    def seconds(self) -> float:
        """Of a round, where nothing holds it up."""
        return self.slower * self.measured.round_s(self.device.seen, self.device.batch_size)


def members(devices: Sequence[Device], wishes: Wishes) -> tuple[list[Member], list[str]]:
    """The clients, and in words which devices cannot be one.

    Raises:
        UserError: none can.
    """
    chosen: list[Member] = []
    left_out: dict[str, None] = {}
    for number in range(wishes.clients or len(devices) * len(wishes.slower)):
        device = devices[number % len(devices)]
        slower = wishes.slower[number // len(devices) % len(wishes.slower)]
        seconds = wishes.round_seconds or device.round_seconds
        most = device.max_memory if wishes.max_memory is None else wishes.max_memory
        # Also a client that is as slow as it may be shall be in time.
        if best := device.fitting(seconds / slower / wishes.straggler, most):
            chosen.append(Member(device, slower, best))
        else:
            least, memory = device.measured[0], "" if most is None else f" and {most / 1e9:.3g} GB"
            took = slower * wishes.straggler * least.round_s(device.seen, device.batch_size)
            of_memory = "" if least.peak_bytes is None else f" and {least.peak_bytes / 1e9:.3g} GB"
            times = "" if slower == 1 else f", {slower:g} times as slow as measured"
            text = f"left out: {device.name}{times}: ×{least.width:g} takes up to {took:.3g} s{of_memory}"
            left_out[f"{text}, over {seconds:g} s{memory}"] = None
    if not chosen:
        raise UserError(f"devices: none can take part ({next(iter(left_out))}); raise round_seconds or max_memory")
    return chosen, list(left_out)


def fleet_of_members(chosen: Sequence[Member], wishes: Wishes) -> Fleet:
    """The fleet of these clients (UserError: devices that were measured in other units)."""
    sizes = {(member.device.batch_size, member.device.base_width) for member in chosen}
    if len(sizes) > 1:
        each = "; ".join(f"batch_size={size}, base width {width:g}" for size, width in sorted(sizes))
        raise UserError(f"devices: they were probed with different settings ({each}); probe all with the same")
    names = [member.device.name for member in chosen]
    often = {name: names.count(name) for name in names}
    seen: dict[str, int] = defaultdict(int)
    clients = []
    for member, name in zip(chosen, names, strict=True):
        ident = name if often[name] == 1 else f"{name}-{seen[name]}"
        seen[name] += 1
        rows = member.device.measured
        loads = tuple(round(row.load, 6) for row in rows)
        seconds = tuple(short(member.slower * row.step_s) for row in rows)
        in_order = loads == tuple(range(1, len(rows) + 1))
        start = short(member.slower * member.measured.start_s)
        clients.append(
            FleetClient(
                ident, ident, member.measured.width, seconds, () if in_order else loads, start, wishes.drop_out,
                wishes.straggler,
            )
        )  # fmt: skip
    deadline = wishes.round_seconds or max(member.device.round_seconds for member in chosen)
    [(batch_size, base_width)] = sizes
    fleet = Fleet(
        tuple(clients), deadline, min_clients=wishes.min_clients, batch_size=batch_size, base_width=base_width
    )
    fleet.check()
    return fleet


def short(seconds: float) -> float:
    """Seconds with the digits that were measured."""
    return float(f"{seconds:.{DIGITS}g}")


@dataclass(frozen=True)
class Prediction:
    """What a fleet will do in a round, on average over many.

    Attributes:
        seconds: of a round.
        in_time: clients whose updates count.
        bytes_down, bytes_up: training payload of all clients together.
        validation_bytes: that a validation sends to every client: the whole model, whatever its budget.
        trainers: clients that train each part of the model: a base model, or all that is wider than a width.
    """

    seconds: float
    in_time: float
    bytes_down: float
    bytes_up: float
    validation_bytes: int
    trainers: dict[str, float]


def prediction(fleet: Fleet, method: Method, seen: Sequence[int], rounds: int, per_round: int | None) -> Prediction:
    """What so many rounds of a fleet are like, seed 1.

    Args:
        method: bound to the fleet's budgets.
        seen: images of every client in a round.
        per_round: participants; None are all.

    Raises:
        UserError: a round to which too few clients come.
    """
    simulated = FleetRounds(fleet, method, seen, SEED)
    state = method.initial_state(SEED)
    done, trained = [], defaultdict[tuple[int, float], int](int)
    for number in range(rounds):
        chosen = participants(SEED, number, len(seen), per_round)
        done.append(simulated.round(number, chosen))
        for task in done[-1].in_time(method.plan(replace(state, round=number), chosen, SEED)):
            for base_model in task.base_models:
                trained[base_model, task.spec.width] += 1
    budgets = [client.budget for client in fleet.clients]
    down = sum(method.download_entries(budgets[client]) for one in done for client in one.asked)
    up = sum(method.upload_entries(budgets[client]) for one in done for client in one.answered)
    widths = sorted({width for _, width in trained})
    parts = {
        part_name(base_model, low, method.base_models > 1): sum(
            count for (base, width), count in trained.items() if base == base_model and width >= low
        )
        / rounds
        for base_model in range(method.base_models)
        for low in widths
    }
    seconds = mean(one.seconds or 0.0 for one in done)
    in_time = mean(len(one.answered) for one in done)
    whole = sum(value.nbytes for value in state.tensors.values())
    return Prediction(seconds, in_time, payload_bytes(down) / rounds, payload_bytes(up) / rounds, whole, parts)


def part_name(base_model: int, width: float, several: bool) -> str:
    """A part of the model in words."""
    return f"base model {base_model}" if several else f"the model at ×{width:g}"
