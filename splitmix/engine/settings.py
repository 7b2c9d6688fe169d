"""The settings of the config group `engine`: where and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from splitmix.engine.before_torch import PORTABLE, portable_environment
from splitmix.engine.cores import usable_cores
from splitmix.engine.precision import PRECISIONS, Place, set_tf32
from splitmix.engine.rank_places import check_ranks, rank_place, share_of_cores
from splitmix.engine.worker_host import can_have_workers
from splitmix.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
MOST_PER_CORE = 16
"""Threads or workers per usable core: a larger number can only be a slip, and would bring the machine to a halt."""


@dataclass(frozen=True)
class EngineSettings:
    """Settings of `engine`: where and how fast, never what is computed (up to rounding).

    Attributes:
        accelerator: auto, cpu, cuda or mps. `auto` is a CUDA device if one is visible, else the CPU.
        precision: 32-true; tf32, which lets a CUDA device round the factors of products and convolutions to 10 bits;
            bf16-mixed; or 64-true (the server stays in float32).
        lanes: base models (or whole models) trained together in one network; 1 trains one at a time. `auto` on a CPU
            is the fastest number, measured once per machine and network; on a GPU as many as its memory has room
            for, halved if it runs out all the same.
        workers: processes with one thread each that share a round's lanes and evaluation; 1 stays in this process.
            `auto` is one per thread on a CPU, else 1.
        threads: CPU threads in use, by each rank; 0 means all cores that this process may use, divided by the ranks of
            the machine.
        instructions: processor instructions that PyTorch may use: `native` is all that there are, `portable` those of
            every x86-64 processor, whose results do not depend on the processor. PyTorch must be imported under
            `before_torch.PORTABLE`; the command line sees to that.
        devices: ranks on each machine, processes that share a round's lanes and evaluation: one per GPU, or so many on
            the CPU.
        num_nodes: machines of the run.
    """

    accelerator: str = "auto"
    precision: str = "32-true"
    lanes: int | str = "auto"
    workers: int | str = "auto"
    threads: int = 0
    instructions: str = "native"
    devices: int = 1
    num_nodes: int = 1

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
        if self.precision == "tf32" and self.device_type != "cuda":
            raise UserError(
                f"engine.precision=tf32: only CUDA devices have it, and this run uses {self.device_type}; use"
                " engine.precision=32-true"
            )
        if self.instructions not in ("native", "portable"):
            raise UserError(f"engine.instructions={self.instructions}: choose native or portable")
        if self.instructions == "portable" and not (
            portable_environment() and torch.backends.cpu.get_cpu_capability() == "DEFAULT"
        ):
            variables = " ".join(f"{name}={value}" for name, value in PORTABLE.items())
            raise UserError(
                "engine.instructions=portable: PyTorch was imported with other instructions; start Python with"
                f" {variables}"
            )
        for key in ("lanes", "workers"):
            value = getattr(self, key)
            if value != "auto" and (isinstance(value, str) or value < 1):
                raise UserError(f"engine.{key}={value}: give at least 1, or auto")
        if self.threads < 0:
            raise UserError(f"engine.threads={self.threads}: give a number of threads, or 0 for all cores")
        check_ranks(self.devices, self.num_nodes)
        most = MOST_PER_CORE * usable_cores()
        for key in ("threads", "workers", "devices"):
            value = getattr(self, key)
            if isinstance(value, int) and value > most:
                raise UserError(f"engine.{key}={value}: more than {MOST_PER_CORE} per core; give at most {most}")
            if isinstance(value, int) and key != "devices" and value * self.devices > most:
                raise UserError(
                    f"engine.{key}={value} for each of engine.devices={self.devices} ranks: more than {MOST_PER_CORE}"
                    f" per core; give at most {max(1, most // self.devices)}"
                )
        self.device_index()
        if isinstance(self.workers, int) and self.workers > 1:
            if self.device_type != "cpu":
                raise UserError(
                    f"engine.workers={self.workers}: workers are for the CPU, and this run uses {self.device_type}; use"
                    " engine.workers=auto, or engine.accelerator=cpu"
                )
            if not can_have_workers():
                raise UserError(
                    f"engine.workers={self.workers}: this system cannot share memory with workers; use engine.workers=1"
                )

    @property
    def device_type(self) -> str:
        """The kind of device in use: cpu, cuda or mps."""
        if self.accelerator != "auto":
            return self.accelerator
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def ranks(self) -> int:
        """Processes that share the work, on all machines together."""
        return self.devices * self.num_nodes

    def device_index(self) -> int:
        """The number of this rank's GPU among those that it may use; 0 where there are none.

        Raises:
            UserError: fewer GPUs than ranks.
        """
        kind = self.device_type
        if kind == "mps" and self.devices > 1:
            raise UserError(f"engine.devices={self.devices}: there is one MPS device; use engine.devices=1")
        if kind != "cuda" or self.devices == 1:
            return 0
        place, visible = rank_place(), torch.cuda.device_count()
        if visible >= self.devices:
            return place.local_rank if place is not None else 0
        # SLURM with --gpus-per-task shows each task its own GPU alone.
        if visible == 1 and place is not None and place.external:
            return 0
        raise UserError(
            f"engine.devices={self.devices}: {visible} CUDA device{'s are' if visible != 1 else ' is'} visible to this"
            f" process; give engine.devices={visible}, or engine.accelerator=cpu"
        )

    def fabric(self, loggers: Sequence[Any] = ()) -> Fabric:
        """The Fabric that owns device and loggers."""
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment

        self.check()
        precision: Any = "32-true" if self.precision == "tf32" else self.precision
        devices: Any = 1
        if self.device_type == "cuda":
            devices = [self.device_index()]
            torch.cuda.set_device(devices[0])
        set_tf32(self.precision == "tf32")
        # A rank is alone with its device: launchers of many processes are for `ranks.py` to see.
        alone = LightningEnvironment()
        return Fabric(
            accelerator=self.device_type, devices=devices, precision=precision, loggers=list(loggers), plugins=[alone]
        )

    def own_place(self) -> Place:
        """The device of this process alone, in this precision, without Lightning, whose import takes seconds."""
        self.check()
        set_tf32(self.precision == "tf32")
        kind = self.device_type
        return self.place(torch.device(kind) if kind == "cpu" else torch.device(kind, 0))

    def place(self, device: torch.device) -> Place:
        """The device in this precision."""
        return Place(device, self.precision)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters in training and of images."""
        return self.place(torch.device("cpu")).dtype

    @property
    def cpu_threads(self) -> int:
        """Threads of this rank."""
        return self.threads or share_of_cores(usable_cores(), self.devices)

    @property
    def worker_processes(self) -> int:
        """Number of processes at work, `auto` being resolved."""
        if isinstance(self.workers, int):
            return self.workers
        return self.cpu_threads if self.device_type == "cpu" and can_have_workers() else 1

    def describe(self) -> str:
        """Device, workers and lanes in a line."""
        name = f" ({torch.cuda.get_device_name()})" if self.device_type == "cuda" else ""
        workers, threads = self.worker_processes, self.cpu_threads
        share = f"{workers} workers of one thread each" if workers > 1 else f"{threads} thread{'s' * (threads > 1)}"
        if self.ranks > 1:
            machines = f" on {self.num_nodes} machines" if self.num_nodes > 1 else ""
            share = f"{self.ranks} ranks{machines}, each {share}"
        return f"device: {self.device_type}{name}, {share}, lanes {self.lanes}, precision {self.precision}"

    def used(self, device: torch.device, workers: int, lanes: Mapping[str, int]) -> dict[str, Any]:
        """The engine in use, as results.json records it.

        Args:
            device, workers: those in use.
            lanes: by network, what `auto` chose; empty where the settings say the number.
        """
        return {
            "device": device.type + (f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""),
            "precision": self.precision,
            "workers": workers,
            "lanes": dict(lanes) or self.lanes,
            "threads": 1 if workers > 1 else self.cpu_threads,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            **({"ranks": self.ranks} if self.ranks > 1 else {}),
        }
