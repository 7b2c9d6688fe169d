"""How many lanes to train together on this machine: measured once, kept in the cache folder."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from time import perf_counter

import torch

from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.shared_memory import bytes_needed
from splitmix.engine.trial_steps import TrialSteps
from splitmix.errors import UserError
from splitmix.files import cache_folder, write_atomically
from splitmix.models.network import NetworkSpec, lane_template
from splitmix.reading import read_json

CANDIDATES = (1, 2, 4, 8)
STEPS = 6
ENOUGH_S = 2.0
NO_SLOWER = 1.03
"""More lanes may take so much longer per lane: fewer packs cost less around the steps."""
MOST_BYTES = 256 << 20
"""Parameters, gradients and momentum of the lanes in training, per process."""


def measured_lanes(trainer: LaneTrainer, spec: NetworkSpec, batch_size: int) -> int:
    """The fastest number of lanes, as this machine measured it the first time that it was asked."""
    machine = f"{platform.node()} {platform.machine()} torch {torch.__version__} {trainer.place.device}"
    key = f"{machine} {trainer.place.dtype}: {trainer.method.name} {spec} batch {batch_size}"
    path = cache_folder() / "lanes.json"
    known: dict[str, int] = {}
    with suppress(UserError):
        loaded = read_json(path)
        known = loaded if isinstance(loaded, dict) else {}
    if known.get(key) not in CANDIDATES:
        known[key] = fastest_lanes(trainer, spec, batch_size)
        # Without a cache the next run measures again.
        with suppress(OSError, UserError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write(json.dumps(known, indent=1).encode()))
    return known[key]


def fastest_lanes(trainer: LaneTrainer, spec: NetworkSpec, batch_size: int) -> int:
    """Time a few steps with 1, 2, 4, … lanes on one thread; the most lanes that are about as fast per lane as any."""
    per_lane: dict[int, float] = {}
    spent = 0.0
    lane_bytes = 3 * bytes_needed(lane_template(spec, 1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for lanes in [lanes for lanes in CANDIDATES if lanes == 1 or lanes * lane_bytes <= MOST_BYTES]:
        steps = TrialSteps(trainer, spec, lanes, batch_size)
        times = []
        for number in range(STEPS):
            start = perf_counter()
            steps.step(number)
            times.append(perf_counter() - start)
        spent += sum(times)
        per_lane[lanes] = min(times[1:]) / lanes
        if spent > ENOUGH_S:
            break
    torch.set_num_threads(threads)
    trainer.cache.clear()
    return max(lanes for lanes, seconds in per_lane.items() if seconds <= NO_SLOWER * min(per_lane.values()))
