"""A deployment folder: the Flower app, the run's config and the fleet, written for `flwr run`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import yaml

import splitmix
from splitmix.deploy.serve import CONFIG, FLEET
from splitmix.errors import UserError
from splitmix.files import write_atomically

APP = "app"
PYPROJECT = """\
# The Flower app of splitmix. Its code is the installed package, on the server and on every node.
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "splitmix-fleet"
version = "{version}"
description = "Split-Mix federated learning on real devices"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>={flwr}"]

[tool.hatch.build.targets.wheel]
packages = ["fleet_app"]

[tool.flwr.app]
publisher = "splitmix"
fab-format-version = 1
flwr-version-target = "{flwr}"

[tool.flwr.app.components]
serverapp = "fleet_app.apps:server_app"
clientapp = "fleet_app.apps:client_app"

[tool.flwr.app.config]
folder = "{folder}"
"""
APPS = '''\
"""The apps that Flower loads: those of the installed package splitmix."""

from splitmix.deploy.flower import client_app, server_app

__all__ = ["client_app", "server_app"]
'''
FLWR_TARGET = "1.42.0"


def write_folder(
    folder: Path, resolved: Mapping[str, Any], fleet: Mapping[str, Any], served_from: Path | None = None
) -> None:
    """Write the folder from which a fleet is served.

    Args:
        resolved: config of the run.
        fleet: keys of `Fleet`, as plain values.
        served_from: where the folder will be when it is served, if not where it is written.

    Raises:
        UserError: it cannot be written.
    """
    package = folder / APP / "fleet_app"
    try:
        package.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot write there ({error.strerror}); choose another folder") from error
    pyproject = PYPROJECT.format(
        version=splitmix.__version__, flwr=FLWR_TARGET, folder=(served_from or folder).resolve()
    )
    for path, text in (
        (folder / CONFIG, yaml.safe_dump(dict(resolved), sort_keys=False)),
        (folder / FLEET, yaml.safe_dump(dict(fleet), sort_keys=False)),
        (folder / APP / "pyproject.toml", pyproject),
        (folder / APP / "README.md", "# splitmix on a fleet\n\nStarted by `flwr run`; see the folder above.\n"),
        (folder / APP / "LICENSE", "The code is the package splitmix, under its own license.\n"),
        (package / "__init__.py", ""),
        (package / "apps.py", APPS),
    ):
        write_atomically(path, partial(write_text, text=text))


def write_text(file: IO[bytes], text: str) -> None:
    """Write a text to an open file."""
    file.write(text.encode())
