"""Which of a run's processes this one is, as torchrun, SLURM, or splitmix itself on each machine has started it.

This file imports no PyTorch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from splitmix.errors import UserError

OURS = "SPLITMIX_RANK"
"""The variable in which splitmix tells the processes that it starts which rank they are."""


@dataclass(frozen=True)
class RankPlace:
    """The place of this process among the ranks of a run.

    Attributes:
        by: who started it: `parent` for another process of splitmix, `torchrun`, `SLURM`, or `user` for one command
            on each machine.
        rank: its number among all; rank zero leads the run.
        local_rank: its number among those of this machine.
        ranks: how many there are; None where rank zero alone knows.
        local_ranks: how many of them are on this machine; None likewise.
        store: what they meet at: a file, or the address and port of rank zero's machine.
    """

    by: str
    rank: int
    local_rank: int = 0
    ranks: int | None = None
    local_ranks: int | None = None
    store: str = ""

    @property
    def external(self) -> bool:
        """Whether others start all processes, so that their number cannot be changed."""
        return self.by in ("torchrun", "SLURM")

    @property
    def ours(self) -> bool:
        """Whether splitmix itself started this process, so that it ends with the one that started it."""
        return self.by == "parent"


def rank_place(environment: Mapping[str, str] = os.environ) -> RankPlace | None:
    """The place that the environment tells; None for a process that the user started alone.

    Raises:
        UserError: a variable of a launcher that is no number, or one that is missing.
    """
    if text := environment.get(OURS):
        return RankPlace(**json.loads(text))
    if "TORCHELASTIC_RUN_ID" in environment:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        rank, local_rank, ranks, local_ranks, port = numbers(environment, "torchrun", *names)
        store = f"{environment.get('MASTER_ADDR', '127.0.0.1')}:{port}"
        return RankPlace("torchrun", rank, local_rank, ranks, local_ranks, store) if ranks > 1 else None
    # A batch script that does not use srun has SLURM's variables too, but no step.
    if "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:
        count = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
        rank, local_rank, ranks = numbers(environment, "SLURM", "SLURM_PROCID", "SLURM_LOCALID", count)
        nodes = "SLURM_STEP_NUM_NODES" if "SLURM_STEP_NUM_NODES" in environment else "SLURM_NNODES"
        [machines] = numbers({nodes: "1", **environment}, "SLURM", nodes)
        if ranks > 1:
            return RankPlace("SLURM", rank, local_rank, ranks, -(-ranks // max(1, machines)))
        return None
    if "NODE_RANK" in environment and "MASTER_ADDR" in environment:
        node, port = numbers({"MASTER_PORT": "29500", **environment}, "machine", "NODE_RANK", "MASTER_PORT")
        # The number of this machine: its rank follows from engine.devices, which rank zero tells.
        return RankPlace("user", node, store=f"{environment['MASTER_ADDR']}:{port}")
    return None


def numbers(environment: Mapping[str, str], by: str, *names: str) -> list[int]:
    """The values of variables as whole numbers from 0."""
    values = []
    for name in names:
        text = environment.get(name, "")
        if not text.isdecimal():
            raise UserError(f"{name}={text}: this process is part of a {by} job, and {name} is no number")
        values.append(int(text))
    return values


def follows(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process takes its work from rank zero instead of doing what its command line says."""
    place = rank_place(environment)
    return place is not None and place.rank > 0


def check_ranks(devices: int, num_nodes: int) -> None:
    """Raise UserError unless so many ranks can be had in this process's job."""
    for key, value in (("devices", devices), ("num_nodes", num_nodes)):
        if value < 1:
            raise UserError(f"engine.{key}={value}: give at least 1")
    place = rank_place()
    if place is not None and place.external and (place.ranks, place.local_ranks) != (devices * num_nodes, devices):
        nodes = -(-place.ranks // place.local_ranks) if place.ranks and place.local_ranks else 1
        raise UserError(
            f"engine.devices={devices} engine.num_nodes={num_nodes}: {place.by} started {place.ranks} processes for"
            f" this run; give engine.devices={place.local_ranks} engine.num_nodes={nodes}"
        )
    if num_nodes > 1 and place is None:
        raise UserError(
            f"engine.num_nodes={num_nodes}: nothing here starts the other machines: use torchrun or srun, or set"
            " MASTER_ADDR, MASTER_PORT and NODE_RANK and start the command on each machine"
        )


def environment_of(place: RankPlace) -> dict[str, str]:
    """The variable that makes a process that splitmix starts take this place."""
    return {OURS: json.dumps(asdict(place))}


def share_of_cores(usable: int, devices: int, environment: Mapping[str, str] = os.environ) -> int:
    """The cores for each of `devices` ranks on this machine, of those that this process may use.

    SLURM binds each task to its own cores, or says how many it has; otherwise ranks divide what there is.
    """
    text = environment.get("SLURM_CPUS_PER_TASK", "")
    place = rank_place(environment)
    if place is not None and place.by == "SLURM" and text.isdecimal() and int(text) > 0:
        return min(usable, int(text))
    return max(1, usable // devices)
