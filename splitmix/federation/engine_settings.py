"""The settings of the config group `engine`: where and how fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric

from splitmix.errors import UserError
from splitmix.federation.workers import can_fork

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "64-true")


@dataclass(frozen=True)
class EngineSettings:
    """Settings of `engine`: where and how fast, never what is computed (up to rounding).

    Attributes:
        accelerator: auto, cpu, cuda or mps.
        precision: as Lightning names it: 32-true, bf16-mixed or 64-true (the server stays in float32).
        lanes: base models (or whole models) trained together in one network; 1 trains one at a time. `auto` on a CPU
            is the fastest number, measured once per machine and network; on a GPU all lanes of a round, halved when
            memory runs out.
        workers: processes with one thread each that share a round's lanes and evaluation; 1 stays in this process.
            `auto` is one per thread on a Linux CPU, else 1.
        threads: CPU threads in use; 0 means all cores.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"
    lanes: int | str = "auto"
    workers: int | str = "auto"
    threads: int = 0

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if self.accelerator not in ACCELERATORS:
            raise UserError(f"engine.accelerator={self.accelerator}: choose one of {', '.join(ACCELERATORS)}")
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise UserError("engine.accelerator=cuda: no CUDA device is visible; use engine.accelerator=cpu")
        if self.accelerator == "mps" and not torch.backends.mps.is_available():
            raise UserError("engine.accelerator=mps: there is no such device; use engine.accelerator=cpu")
        if self.precision not in PRECISIONS:
            raise UserError(f"engine.precision={self.precision}: choose one of {', '.join(PRECISIONS)}")
        for key in ("lanes", "workers"):
            value = getattr(self, key)
            if value != "auto" and (isinstance(value, str) or value < 1):
                raise UserError(f"engine.{key}={value}: give at least 1, or auto")
        if self.threads < 0:
            raise UserError(f"engine.threads={self.threads}: give a number of threads, or 0 for all cores")
        if isinstance(self.workers, int) and self.workers > 1 and not (can_fork() and self.accelerator == "cpu"):
            raise UserError(f"engine.workers={self.workers}: workers need a CPU under Linux; use engine.workers=1")

    def fabric(self, loggers: Sequence[Any] = ()) -> Fabric:
        """The Fabric that owns device and precision."""
        self.check()
        precision: Any = self.precision
        return Fabric(accelerator=self.accelerator, devices=1, precision=precision, loggers=list(loggers))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters in training and of images."""
        return torch.float64 if self.precision == "64-true" else torch.float32

    @property
    def cpu_threads(self) -> int:
        if hasattr(os, "sched_getaffinity"):
            return self.threads or len(os.sched_getaffinity(0))
        return self.threads or os.cpu_count() or 1
