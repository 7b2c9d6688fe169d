"""fleet.env of a node or a server: the few values that its start script and `splitmix deploy-check` share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from splitmix.errors import UserError
from splitmix.reading import read_text

FILE = "fleet.env"


@dataclass(frozen=True)
class FleetEnvironment:
    """What a device knows of its fleet.

    Attributes:
        host, port: where devices reach the server.
        listen, listen_port: where the server itself listens.
        versions: those with which the fleet was made, by package.
    """

    host: str
    port: int
    listen: str
    listen_port: int
    versions: Mapping[str, str]

    @property
    def own_address(self) -> tuple[str, int]:
        """Where the server's own processes reach it."""
        return own_host(self.listen), self.listen_port


def own_host(listen: str) -> str:
    """By which host a server is reached on its own machine, where it listens on this address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)


def read_environment(path: Path) -> FleetEnvironment:
    """The values in a file (UserError: it cannot be read, or one is missing or wrong)."""
    values = {}
    for line in read_text(path).splitlines():
        key, _, text = line.partition("=")
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            raise UserError(f"{path}: {key}: {error}; restore the line") from error
        if words and not key.startswith("#"):
            values[key] = words[0]
    try:
        host, _, port = values["ADDRESS"].rpartition(":")
        versions = {name: values[name.upper()] for name in ("splitmix", "flwr", "torch")}
        return FleetEnvironment(host.strip("[]"), int(port), values["LISTEN"], int(values["PORT"]), versions)
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]} is missing; restore the line") from error
    except ValueError as error:
        raise UserError(f"{path}: a port is no number; restore the line") from error
