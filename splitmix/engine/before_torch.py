"""What must happen before PyTorch is imported: its processor instructions are chosen, the host of workers starts.

This file imports no PyTorch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from splitmix.engine.cores import usable_cores
from splitmix.engine.rank_places import share_of_cores
from splitmix.engine.rank_start import start_early
from splitmix.engine.worker_host import can_have_workers, worker_host

PORTABLE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""Environment under which PyTorch, MKL and oneDNN use only instructions that every x86-64 processor has."""


def prepare(engine: Any) -> None:
    """Do what these settings of `engine` ask for: limit the instructions, start the host if there may be workers.

    Both processes can then import PyTorch at once.
    """
    choose_instructions(engine)
    if not isinstance(engine, Mapping):
        return  # a mistake, found later
    devices = engine.get("devices")
    if isinstance(devices, int) and devices <= usable_cores() and engine.get("num_nodes") == 1:
        start_early(devices, 1)
    cores = share_of_cores(usable_cores(), devices if isinstance(devices, int) and devices > 0 else 1)
    workers = engine.get("workers") if engine.get("workers") != "auto" else engine.get("threads") or cores
    on_cpu = engine.get("accelerator") in ("auto", "cpu")
    if on_cpu and isinstance(workers, int) and workers > 1 and can_have_workers():
        worker_host()


def choose_instructions(engine: Any) -> None:
    """Set the environment that `engine.instructions=portable` needs, which PyTorch reads when it is imported."""
    if isinstance(engine, Mapping) and engine.get("instructions") == "portable" and "torch" not in sys.modules:
        os.environ.update(PORTABLE)


def portable_environment() -> bool:
    """Whether the environment limits the instructions."""
    return all(os.environ.get(name) == value for name, value in PORTABLE.items())
