"""`splitmix benchmark`: fixed workloads, packed lanes against one lane at a time, a table and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from splitmix.binding import Component, nearest
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.led import led
from splitmix.commands.messages import log
from splitmix.config import check_ranges
from splitmix.errors import UserError
from splitmix.files import output_file, write_atomically


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/benchmark.yaml`."""

    engine: Component
    benchmark: str
    repeats: int
    rounds: int
    out: str | None


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return led("benchmark", lambda: run_application("benchmark", argv, benchmark))


def benchmark(cfg: DictConfig) -> None:
    """Time what the config names."""
    keys = settings_of(cfg, Keys)
    check_ranges(keys)
    engine = keys.engine
    engine.check()
    out = output_file(keys.out)
    from splitmix.benchmarks.blazefl import blazefl
    from splitmix.benchmarks.clients import client_costs
    from splitmix.benchmarks.data import data_times
    from splitmix.benchmarks.layers import layer_times
    from splitmix.benchmarks.workloads import WORKLOADS, benchmark, memory
    from splitmix.data.minidigits import MiniDigits
    from splitmix.reporting.tables import benchmark_table, print_table, quantity

    chosen, choices = keys.benchmark, [*WORKLOADS, "all", "layers", "data", "memory", "clients", "blazefl"]
    if chosen not in choices:
        raise UserError(f"benchmark={chosen}: no such workload{nearest(chosen, choices)}; {', '.join(choices)}")
    record: dict[str, Any]
    if chosen == "layers":
        record = {"layers": layer_times(engine, log.info)}
    elif chosen == "data":
        record = {"data": data_times(log.info)}
    elif chosen == "clients":
        record = {"clients": client_costs(log.info)}
    elif chosen == "blazefl":
        record = {"blazefl": blazefl(engine, keys.repeats, log.info)}
    elif chosen == "memory":
        record = {"memory": {}}
        for number, resident in memory(MiniDigits().load(log.info), engine, keys.rounds):
            record["memory"][number] = resident
            if number in (1, 10) or number % 50 == 0 or number == keys.rounds:
                log.info(f"after round {number}: {quantity(resident, 'B')} resident")
    else:
        names = list(WORKLOADS) if chosen == "all" else [chosen]
        record = benchmark(names, MiniDigits().load(log.info), engine, keys.repeats)
        log.info(f"{record['machine']}, {record['date']}")
        log.info(f"matrix product: {quantity(record['matrix_product_flops_per_s'], 'FLOP/s')}")
        for name in names:
            log.info(f"{name}: {WORKLOADS[name].what}")
        print_table(benchmark_table(record["workloads"]))
    if out is not None:
        write_atomically(out, lambda file: file.write(json.dumps(record, indent=1).encode()))
        log.info(f"written to {out}")
