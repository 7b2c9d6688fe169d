"""A node's own YAML: which client it is, where its images lie, on which device it trains, where it remembers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from splitmix.binding import bind_settings, nearest
from splitmix.config import COMPONENTS, Scalars
from splitmix.engine.settings import ACCELERATORS
from splitmix.errors import UserError
from splitmix.reading import read_json, read_yaml

SPLITS = ("own", "partition")
SIMULATED_NODES = "simulated_nodes.json"
"""In the folder of a deployment in Flower's simulation: the names of the nodes' YAMLs, by the number of the node."""
OF_THE_RUN = (*COMPONENTS, *Scalars.__dataclass_fields__, "fleet", "budget")


@dataclass(frozen=True)
class NodeSettings:
    """Settings of one node.

    Attributes:
        client: the id by which the fleet knows it.
        memory: folder of what the client remembers between rounds; it must outlive the process.
        dataset: option of the config group, which must be the run's.
        root: where the images lie; None is the option's own place.
        split: `own`: all images there are this client's, split into training, validation and test on the node;
            `partition`: this client's share of the run's partition, for demonstrations and tests.
        accelerator: auto, cpu, cuda or mps.
        threads: CPU threads; 0 means all cores.
        trust: classes and functions of your own, as package.module.Name, that a run may use on this node.
    """

    client: str
    memory: str
    dataset: str = "minidigits"
    root: str | None = None
    split: str = "own"
    accelerator: str = "auto"
    threads: int = 0
    trust: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise UserError for a value that cannot be."""
        if not re.fullmatch(r"[\w.-]{1,80}", self.client):
            raise UserError(f"client={self.client[:80]}: give letters, digits, dots and dashes")
        if self.split not in SPLITS:
            raise UserError(f"split={self.split}: choose {' or '.join(SPLITS)}")
        if self.accelerator not in ACCELERATORS:
            raise UserError(f"accelerator={self.accelerator}: choose one of {', '.join(ACCELERATORS)}")
        if self.threads < 0:
            raise UserError(f"threads={self.threads}: give a number of threads, or 0 for all cores")


def read_node(path: Path) -> NodeSettings:
    """The settings in a file; relative folders are seen from it.

    Raises:
        UserError: it cannot be read; a key that only the run decides, an unknown one, a wrong value.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: not a mapping; give at least client and memory")
    known = [field.name for field in fields(NodeSettings)]
    for key in map(str, values):
        if key in known:
            continue
        if key.split(".")[0] in OF_THE_RUN:
            raise UserError(f"{path}: {key} has no meaning on a node, the run decides it; remove it here")
        raise UserError(f"{path}: unknown key {key}{nearest(key, known)}; known: {', '.join(known)}")
    try:
        settings = bind_settings(NodeSettings, {str(key): value for key, value in values.items()})
        settings.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return NodeSettings(**{**vars(settings), "memory": str(path.parent / Path(settings.memory).expanduser())})


def simulated_nodes(folder: Path) -> list[Path]:
    """The nodes' settings in the folder of a deployment in Flower's simulation (UserError: they are not there)."""
    return [folder / str(name) for name in read_json(folder / SIMULATED_NODES)]
