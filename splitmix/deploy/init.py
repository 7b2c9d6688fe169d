"""The folder of a fleet, ready to start: app, keys, and for the server and every node a script, a unit, a container."""

from __future__ import annotations

import getpass
import os
import platform
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

import splitmix
from splitmix.config import RunConfig, load_run_config
from splitmix.deploy.app_folder import write_folder
from splitmix.deploy.demo import demo_config
from splitmix.deploy.fleet import refuse_meaningless
from splitmix.deploy.fleet_env import own_host
from splitmix.deploy.keys import LOCAL, Authority, write_certificate, write_node_keys, write_private
from splitmix.deploy.node_settings import SPLITS
from splitmix.deploy.serve import CONFIG
from splitmix.deploy.server import check_parts, sent_config
from splitmix.errors import UserError
from splitmix.federation.build import check_config
from splitmix.fleet import Fleet, FleetClient

MOST_NODES = 1000
FIRST_NODE_PORT = 9094
"""Flower's own for the processes of a node; nodes made together get one port each, so that they fit on one machine."""
HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
IMAGES = "/opt/splitmix/images"
SERVER, NODES = "server", "nodes"


@dataclass(frozen=True)
class FleetPlan:
    """What a fleet's folder is made for.

    Attributes:
        nodes: how many, or the id of each.
        host: name or address by which devices reach the server.
        port: of the server.
        listen: the address of its own on which the server listens.
        split: `own`: each node has images of its own; `partition`: the nodes are the clients of the run's partition.
        valid_days: how long the server's certificate counts.
        round_seconds, min_clients: of `Fleet`.
    """

    nodes: int | tuple[str, ...]
    host: str
    port: int = 8000
    listen: str = "0.0.0.0"
    split: str = "own"
    valid_days: int = 730
    round_seconds: float = 600.0
    min_clients: int = 1

    def check(self) -> None:
        """Raise UserError for a value that cannot be."""
        count = self.nodes if isinstance(self.nodes, int) else len(self.nodes)
        if not 1 <= count <= MOST_NODES:
            raise UserError(f"nodes={count}: give 1 to {MOST_NODES} nodes, as a number or as a list of their ids")
        for name in self.nodes if isinstance(self.nodes, tuple) else ():
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
                raise UserError(f"nodes: {name[:80]}: an id has letters, digits, dots and dashes; rename the node")
        for key in ("host", "listen"):
            if not (is_address(getattr(self, key)) or HOST.fullmatch(getattr(self, key))):
                raise UserError(f"{key}={getattr(self, key)}: give a host name or an IP address, without a port")
        if not 1 <= self.port < 2**16:
            raise UserError(f"port={self.port}: give a port from 1 to 65535")
        if self.split not in SPLITS:
            raise UserError(f"split={self.split}: choose {' or '.join(SPLITS)}")
        if not 1 <= self.valid_days <= 3650:
            raise UserError(f"valid_days={self.valid_days}: give 1 to 3650 days")
        if self.split == "partition" and isinstance(self.nodes, tuple):
            raise UserError("split=partition: the partition names the clients; give nodes=<number>")

    @property
    def address(self) -> str:
        """Host and port as Flower reads them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_address(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def clients_of(plan: FleetPlan, resolved: dict[str, Any]) -> tuple[dict[str, Any], tuple[FleetClient, ...]]:
    """The config that fits the nodes, and the clients (UserError: settings that do not fit devices)."""
    if plan.split == "partition":
        resolved = demo_config(resolved, plan.nodes if isinstance(plan.nodes, int) else 0)
        config = load_run_config(resolved)
        check_config(config)
        clients = Fleet().clients_of(config)
    else:
        resolved = {**resolved, "clients_per_domain": 1}
        config = load_run_config(resolved)
        check_parts(config)
        ids = plan.nodes if isinstance(plan.nodes, tuple) else [f"node-{n + 1}" for n in range(plan.nodes)]
        budgets = config.budget.assign(len(ids), 1, config.scalars.seed)
        clients = tuple(FleetClient(name, name, budget) for name, budget in zip(ids, budgets, strict=True))
    named = clients if plan.split == "own" else ()
    fleet = Fleet(named, round_seconds=plan.round_seconds, min_clients=plan.min_clients)
    fleet.check()
    refuse_meaningless(config, resolved, fleet)
    if plan.min_clients > len(clients):
        raise UserError(f"min_clients={plan.min_clients}: the fleet has {len(clients)} nodes; give at most as many")
    return resolved, clients


def init_fleet(plan: FleetPlan, resolved: dict[str, Any], out: Path, force: bool = False) -> Path | None:
    """Make the folder of a fleet, all of it or nothing.

    Args:
        resolved: config of the run.
        out: the folder.
        force: where it is there already, move it aside.

    Returns:
        Where the former folder is now, if there was one.

    Raises:
        UserError: a value that cannot be, settings that do not fit devices, a folder that is there or cannot be made.
    """
    plan.check()
    out = Path(os.path.abspath(out.expanduser()))
    if os.path.lexists(out) and not force:
        raise UserError(f"out={out}: is there already; choose another folder, or force=true, which moves it aside")
    resolved, clients = clients_of(plan, resolved)
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        fill(beside, out, plan, resolved, clients)
        former = None
        if os.path.lexists(out):
            former = out.with_name(f"{out.name}.before-{datetime.now():%Y-%m-%d_%H-%M-%S}")
            os.rename(out, former)
        os.rename(beside, out)
        return former
    except OSError as error:
        raise UserError(f"out={out}: cannot be made ({error.strerror or error}); choose another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def fill(
    folder: Path, final: Path, plan: FleetPlan, resolved: Mapping[str, Any], clients: Sequence[FleetClient]
) -> None:
    """Write all files of a fleet into a new folder, which becomes `final`."""
    config = load_run_config(dict(resolved))
    fleet: dict[str, Any] = {"round_seconds": plan.round_seconds, "min_clients": plan.min_clients}
    if plan.split == "own":
        fleet = {"clients": [vars(client) for client in clients], **fleet}
    write_folder(folder, resolved, fleet, final)
    authority = Authority(final.name)
    write_private(folder / "ca.key", authority.key)
    hosts = tuple(dict.fromkeys([plan.host, own_host(plan.listen), *LOCAL]))
    key, certificate = authority.server(hosts, plan.valid_days)
    ids = [client.id for client in clients]
    values: dict[str, Any] = {
        "address": plan.address,
        "listen": plan.listen,
        "port": plan.port,
        "versions": versions(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "user": getpass.getuser(),
        "bin": unit_word(str(Path(sys.executable).parent)),
        "folder": unit_word(str(final)),
        "folder_word": shlex.quote(str(final)),
        "clients": ids,
        "ends": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "dataset": config.dataset.name,
        "root": root_of(config, plan.split),
        "split": plan.split,
        "accelerator": config.engine.accelerator,
        "threads": config.engine.threads or 0,
    }
    server = folder / SERVER
    server.mkdir()
    write_private(server / "server.key", key)
    write_certificate(server / "server.crt", certificate)
    write_certificate(server / "ca.crt", authority.certificate)
    render(server / "start.sh", "server_start.sh", values, executable=True)
    render(server / "fleet.env", "fleet.env", {**values, "node_port": FIRST_NODE_PORT})
    render(server / "splitmix-server.service", "server.service", values)
    render(server / "compose.yaml", "server_compose.yaml", values)
    render(server / ".dockerignore", "dockerignore", values)
    for number, name in enumerate(ids):
        node = folder / NODES / name
        node.mkdir(parents=True)
        of_node = {**values, "client": name, "node_port": FIRST_NODE_PORT + number}
        write_node_keys(node)
        write_certificate(node / "ca.crt", authority.certificate)
        (node / CONFIG).write_text(yaml.safe_dump(sent_config(resolved), sort_keys=False))
        render(node / "node.yaml", "node.yaml", of_node)
        render(node / "start.sh", "node_start.sh", of_node, executable=True)
        render(node / "fleet.env", "fleet.env", of_node)
        render(node / "splitmix-node.service", "node.service", of_node)
        render(node / "compose.yaml", "node_compose.yaml", of_node)
        render(node / ".dockerignore", "dockerignore", of_node)
    render(folder / "compose.yaml", "compose.yaml", values)
    render(folder / "README.md", "README.md", values)


def versions() -> dict[str, str]:
    """What runs here, by name of the package."""
    return {"splitmix": splitmix.__version__, "flwr": version("flwr"), "torch": version("torch")}


def root_of(config: RunConfig, split: str) -> str | None:
    """Where a node's images lie, for its settings; None where the dataset finds them by itself."""
    if split == "partition":
        root = config.dataset.root
        return None if root is None else str(Path(root).expanduser().resolve())
    try:
        config.dataset.check()
    except UserError:
        return IMAGES
    return None


def unit_word(text: str) -> str:
    """Text between the quotes of a systemd unit."""
    return text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


@cache
def templates() -> Environment:
    """The templates, each of which is read once for all nodes."""
    return Environment(loader=PackageLoader("splitmix.deploy"), undefined=StrictUndefined, keep_trailing_newline=True)


def render(path: Path, template: str, values: Mapping[str, Any], executable: bool = False) -> None:
    """Write a template with these values."""
    path.write_text(templates().get_template(template).render(**values), encoding="utf-8")
    if executable:
        path.chmod(path.stat().st_mode | 0o111)
