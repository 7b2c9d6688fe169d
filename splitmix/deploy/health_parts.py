"""All checks of a node, or of a server, in the order in which they are told."""

from __future__ import annotations

import os
import platform
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from splitmix.config import load_run_config
from splitmix.deploy.fleet import refuse_meaningless
from splitmix.deploy.fleet_env import FILE, FleetEnvironment, read_environment
from splitmix.deploy.health import Checked, checked
from splitmix.deploy.health_keys import (
    check_authority,
    check_date,
    check_node_key,
    check_registered,
    check_server_certificate,
    check_server_key,
)
from splitmix.deploy.health_network import check_clock, check_free, check_port, check_tls
from splitmix.deploy.init import NODES, SERVER
from splitmix.deploy.node import NodeRun
from splitmix.deploy.node_settings import read_node
from splitmix.deploy.serve import CONFIG, FLEET
from splitmix.errors import UserError
from splitmix.fleet import read_fleet
from splitmix.reading import read_yaml

NODE = "node.yaml"
STRICT = {"splitmix": (3, True), "flwr": (2, True), "torch": (2, False)}
"""By package how many parts of its version must be the fleet's, and whether another one is a failure."""


def checks_of(folder: Path, seconds: float) -> list[Checked]:
    """Check the node or the server whose folder this is.

    Args:
        folder: with node.yaml (a node's), or with fleet.yaml (the server's).
        seconds: how long an answer over the network is waited for.

    Raises:
        UserError: it is neither.
    """
    if (folder / NODE).is_file():
        return node_checks(folder, seconds)
    if (folder / FLEET).is_file():
        return server_checks(folder, seconds)
    raise UserError(f"folder={folder}: neither {NODE} nor {FLEET} is there; give the folder of a node, or of the fleet")


def node_checks(folder: Path, seconds: float) -> list[Checked]:
    """The checks of a node, on its device."""
    known = read_environment(folder / FILE)
    authority = folder / "ca.crt"
    way = (known.host, known.port)
    results = [
        *version_checks(known),
        checked("authority", partial(check_authority, authority)),
        checked("key", partial(check_node_key, folder / "node.key", folder / "node.pub")),
        checked("port", partial(check_port, *way, seconds)),
    ]
    if results[-1].ok:
        results.append(checked("certificate", partial(check_tls, *way, authority, seconds)))
    answers = results[-1].ok
    clock = partial(check_clock, *way, authority, seconds) if answers else partial(check_date, authority)
    results.append(checked("clock", clock))
    return [*results, checked("memory", partial(check_memory, folder)), checked("data", partial(check_data, folder))]


def server_checks(folder: Path, seconds: float) -> list[Checked]:
    """The checks of the server, on its machine."""
    server = folder / SERVER
    known = read_environment(server / FILE)
    certificate, authority = server / "server.crt", server / "ca.crt"
    results = [
        *version_checks(known),
        checked("authority", partial(check_authority, authority)),
        checked(
            "certificate", partial(check_server_certificate, certificate, authority, (known.host, known.own_address[0]))
        ),
        checked("key", partial(check_server_key, server / "server.key", certificate)),
        checked("fleet", partial(check_fleet, folder)),
        checked("nodes", partial(check_registered, folder / NODES, node_names(folder))),
    ]
    if checked("port", partial(check_port, *known.own_address, seconds)).ok:
        results.append(checked("server", partial(check_tls, *known.own_address, authority, seconds)))
    else:
        results.append(checked("port", partial(check_free, known.listen, known.listen_port)))
    return results


def version_checks(known: FleetEnvironment) -> list[Checked]:
    """Python and the packages, beside those with which the fleet was made."""
    return [
        checked("python", check_python),
        *(checked(name, partial(check_version, name, text, *STRICT[name])) for name, text in known.versions.items()),
    ]


def check_python() -> str:
    """The version of Python, which Flower needs to be 3.11 or newer."""
    if sys.version_info < (3, 11):
        raise UserError(f"{platform.python_version()}: Flower needs 3.11 or newer; install it")
    return platform.python_version()


def check_version(name: str, expected: str, parts: int, needed: bool) -> str:
    """A package, whose version must be the fleet's in so many parts; where it is not needed, that is only told."""
    try:
        installed = version(name)
    except PackageNotFoundError as error:
        raise UserError(f"not installed; pip install 'splitmix[flower]=={expected}'") from error
    if installed.split(".")[:parts] == expected.split(".")[:parts]:
        return installed
    if not needed:
        return f"{installed}; the fleet was made with {expected}: it trains, but not to the same bits"
    raise UserError(f"{installed}, the fleet was made with {expected}; pip install '{name}=={expected}'")


def check_memory(folder: Path) -> str:
    """Where a node remembers: it must be possible to write there."""
    memory = Path(read_node(folder / NODE).memory)
    there = memory
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"memory={memory}: cannot be written; chown the folder to who runs the node")
    return f"{memory} can be written"


def check_data(folder: Path) -> str:
    """This node's images: all of them are read, and split, as in the run."""
    config = read_yaml(folder / CONFIG)
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG}: no config of a run; restore it from the fleet's folder")
    facts = NodeRun(read_node(folder / NODE), "check", config).data.facts
    shape = "x".join(map(str, facts.input_shape))
    return (
        f"{facts.n_train} training, {facts.n_val} validation, {facts.n_test} test images of {shape},"
        f" {len(facts.classes)} classes"
    )


def node_names(folder: Path) -> list[str]:
    """The ids of the nodes: those that the fleet names, else those that have a folder."""
    try:
        named = [client.id for client in read_fleet(folder / FLEET).clients]
    except UserError:
        named = []
    return named or sorted(path.name for path in (folder / NODES).glob("*") if path.is_dir())


def check_fleet(folder: Path) -> str:
    """The settings of the fleet and of the run fit each other."""
    resolved = read_yaml(folder / CONFIG)
    if not isinstance(resolved, dict):
        raise UserError(f"{folder / CONFIG}: no config of a run; restore it")
    config, fleet = load_run_config(resolved), read_fleet(folder / FLEET)
    refuse_meaningless(config, resolved, fleet)
    return f"{len(fleet.clients_of(config))} clients, {config.scalars.rounds} rounds, {fleet.round_seconds:g} s each"
