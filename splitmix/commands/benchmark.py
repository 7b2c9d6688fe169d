"""`splitmix benchmark`: fixed workloads, packed lanes against one lane at a time, a table and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from splitmix.binding import bind, nearest
from splitmix.commands.application import log, run_application, values_of
from splitmix.errors import UserError

KEYS = ("benchmark", "repeats", "rounds", "out", "engine")


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("benchmark", argv, benchmark)


def benchmark(cfg: DictConfig) -> None:
    """Time what the config names."""
    values = values_of(cfg, KEYS)
    engine = bind(values["engine"], "engine")
    engine.check()
    from splitmix.data.minidigits import MiniDigits
    from splitmix.federation.benchmark import WORKLOADS, benchmark, memory
    from splitmix.federation.benchmark_data import data_times
    from splitmix.federation.benchmark_layers import layer_times
    from splitmix.files import write_atomically
    from splitmix.reporting.tables import benchmark_table, print_table, quantity

    chosen, choices = values["benchmark"], [*WORKLOADS, "all", "layers", "data", "memory"]
    if chosen not in choices:
        raise UserError(f"benchmark={chosen}: no such workload{nearest(str(chosen), choices)}; {', '.join(choices)}")
    for key in ("repeats", "rounds"):
        if not isinstance(values[key], int) or values[key] < 1:
            raise UserError(f"{key}={values[key]}: give a whole number of at least 1")
    out = None if values["out"] is None else Path(str(values["out"]))
    if out is not None and out.is_dir():
        raise UserError(f"out={out}: is a folder; name a file")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"out={out}: the folder {out.parent} does not exist")
    record: dict[str, Any]
    if chosen == "layers":
        record = {"layers": layer_times(log.info)}
    elif chosen == "data":
        record = {"data": data_times(log.info)}
    elif chosen == "memory":
        record = {"memory": {}}
        for number, resident in memory(MiniDigits().load(log.info), engine, values["rounds"]):
            record["memory"][number] = resident
            if number in (1, 10) or number % 50 == 0 or number == values["rounds"]:
                log.info(f"after round {number}: {quantity(resident, 'B')} resident")
    else:
        names = list(WORKLOADS) if chosen == "all" else [chosen]
        record = benchmark(names, MiniDigits().load(log.info), engine, values["repeats"])
        log.info(f"{record['machine']}, {record['date']}")
        log.info(f"matrix product: {quantity(record['matrix_product_flops_per_s'], 'FLOP/s')}")
        for name in names:
            log.info(f"{name}: {WORKLOADS[name].what}")
        print_table(benchmark_table(record["workloads"]))
    if out is not None:
        write_atomically(out, lambda file: file.write(json.dumps(record, indent=1).encode()))
        log.info(f"written to {out}")
