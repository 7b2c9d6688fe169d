"""Times a process that is started for a single round, as Flower starts one for every message to a node."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

import cloudpickle

from splitmix.data.dataset import ImageSet
from splitmix.engine.settings import EngineSettings
from splitmix.federation.client_side import ClientSettings

if TYPE_CHECKING:
    from splitmix.deploy.probe import Probed


def fresh_process_s(client: Probed, images: ImageSet, settings: ClientSettings, engine: EngineSettings) -> float:
    """Seconds from the start of a process to its end, in which it trains one round."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "round"
        file.write_bytes(cloudpickle.dumps((client, images, settings, engine)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        command = [sys.executable, "-c", f"from {__name__} import train_once; train_once()", str(file)]
        start = perf_counter()
        subprocess.run(command, env=environment, check=True)
        return perf_counter() - start


def train_once() -> None:
    """In such a process: import what a node's does, and train the round in the file that the command line names."""
    import torch

    with suppress(ImportError):  # a device may be probed before Flower is installed
        import_module("splitmix.deploy.flower").import_client_process()
    import_module("splitmix.deploy.node")
    client, images, settings, engine = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
    torch.set_num_threads(engine.cpu_threads)
    client.train(images, settings, engine)
