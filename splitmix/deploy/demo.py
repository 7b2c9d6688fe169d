"""A demonstration: Flower's server and nodes on this machine, a run on them, and its table."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from splitmix.config import RunConfig, load_run_config
from splitmix.deploy.app_folder import APP, write_folder
from splitmix.deploy.fleet import refuse_meaningless
from splitmix.deploy.node_settings import SIMULATED_NODES
from splitmix.deploy.processes import Processes, free_port, processes, tool, wait_for_port
from splitmix.deploy.serve import RUN
from splitmix.errors import UserError
from splitmix.federation.build import check_config
from splitmix.fleet import Fleet
from splitmix.progress import Progress
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results_file import read_results

MOST_CLIENTS = 16
POLL_S = 0.5
QUIET = {"FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_TELEMETRY_ENABLED": "0"}
"""Flower asks nobody outside for anything."""

log = logging.getLogger("splitmix")


def demo_config(resolved: dict[str, Any], clients: int) -> dict[str, Any]:
    """The config of a run with so many clients: as many domains as divide their number, equally many in each.

    Raises:
        UserError: a number of clients that the dataset's domains do not divide, or too many.
    """
    if not 1 <= clients <= MOST_CLIENTS:
        raise UserError(f"clients={clients}: give 1 to {MOST_CLIENTS} nodes for one machine")
    dataset = dict(resolved["dataset"])
    if "domain_count" in dataset:
        dataset["domain_count"] = max(n for n in range(1, dataset["domain_count"] + 1) if clients % n == 0)
    config = {**resolved, "dataset": dataset, "clients_per_domain": 1}
    domains = len(load_run_config(config).dataset.domains)
    if clients % domains:
        raise UserError(f"clients={clients}: the dataset has {domains} domains; give a multiple of {domains}")
    return {**config, "clients_per_domain": clients // domains}


def run_demo(
    resolved: dict[str, Any], folder: Path, port: int | None, round_seconds: float, simulation: bool = False
) -> Path:
    """Run a federation on nodes of this machine.

    Args:
        resolved: config of the run.
        folder: of the deployment: the app, the nodes' settings, logs, and the run folder.
        simulation: in Flower's simulation, whose nodes are tasks of Ray, instead of a process for each node.

    Returns:
        The run folder.

    Raises:
        UserError: Flower or Ray is not installed, a process ends, the run fails; the log that says why is named.
    """
    config = load_run_config(resolved)
    fleet = Fleet(round_seconds=round_seconds)
    fleet.check()
    refuse_meaningless(config, resolved, fleet)
    check_config(config)
    if simulation and find_spec("ray") is None:
        raise UserError("simulation=true: Flower's simulation needs Ray: pip install 'flwr[simulation]'")
    flower = {name: tool(name) for name in ("flower-superlink", "flower-supernode", "flwr")}
    # Once here, so that the nodes do not all make it at the same time.
    config.dataset.load(log.info, config.scalars.train_fraction)
    folder = folder.resolve()
    write_folder(folder, resolved, {"round_seconds": round_seconds, "wait_seconds": max(300.0, round_seconds)})
    port = port or free_port()
    home = folder / "flower"
    home.mkdir(exist_ok=True)
    address = f"127.0.0.1:{port}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "fleet"\n\n[superlink.fleet]\naddress = "{address}"\ninsecure = true\n'
    )
    with processes(folder / "logs", {"FLWR_HOME": str(home), **QUIET}) as started:
        server = ["--insecure", "--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation"]
        started.start("superlink", [flower["flower-superlink"], *server, *["--simulation"] * simulation])
        wait_for_port(port, started)
        nodes = {client.id: node_file(folder, config, client.id) for client in fleet.clients_of(config)}
        if simulation:
            (folder / SIMULATED_NODES).write_text(json.dumps([path.name for path in nodes.values()]))
            size = ["--num-supernodes", str(len(nodes)), "--client-resources-num-cpus", "1"]
            started.run("simulation-config", [flower["flwr"], "federation", "simulation-config", "", "fleet", *size])
        for name, path in {} if simulation else nodes.items():
            words = ["--insecure", "--superlink", address, "--host", "127.0.0.1", "--port", str(free_port())]
            config_word = f'splitmix="{path}"'
            started.start(f"node-{name}", [flower["flower-supernode"], *words, "--node-config", config_word])
        log.info(f"server on {address} and {len(nodes)} nodes; their logs: {started.logs}")
        started.start("run", [flower["flwr"], "run", str(folder / APP), "fleet", "--stream"])
        follow(folder / RUN, config, started)
    return folder / RUN


def node_file(folder: Path, config: RunConfig, client: str) -> Path:
    """Write the settings of a node on this machine; returns the file."""
    root = config.dataset.root
    settings = {
        "client": client,
        "memory": "memory",
        "dataset": config.dataset.name,
        "root": None if root is None else str(Path(root).expanduser().resolve()),
        "split": "partition",
        "accelerator": config.engine.accelerator,
        "threads": config.engine.threads or 1,
    }
    path = folder / f"node-{client}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def follow(run: Path, config: RunConfig, started: Processes, clock: Callable[[], float] = monotonic) -> None:
    """Show the rounds as they are done, until the run is finished (UserError: it failed, or a process ended)."""
    done, last = 0, clock()
    with Progress(config.scalars.rounds) as progress:
        while True:
            sleep(POLL_S)
            status = "running"
            with suppress(UserError):
                status = read_results(run / "results.json")["status"]
            rows: list[dict[str, float]] = []
            with suppress(UserError):
                rows = read_metrics(run / "metrics.csv")
            for row in rows[done:]:
                widths = [float(name.partition("/")[2]) for name in row if name.startswith("val_sa/")]
                shown = {"sa": row[f"val_sa/{max(widths)}"]} if widths else {}
                progress.update(row.get("train_loss", math.nan), shown, clock() - last)
                done, last = done + 1, clock()
            if status == "finished":
                return
            ended = started.ended()
            if status == "failed" or ended:
                name = "run" if status == "failed" else ended
                raise UserError(f"the demonstration stopped: see {started.logs / f'{name}.log'}")
