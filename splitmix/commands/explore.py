"""`splitmix explore`: a run on a local page with two dials."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.commands.trust import trusted_targets
from splitmix.errors import UserError

HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/explore.yaml`."""

    run: str
    checkpoint: str
    calibration: str
    host: str
    port: int
    open: bool
    trust: tuple[str, ...]

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if not 0 <= self.port <= HIGHEST_PORT:
            raise UserError(f"port={self.port}: give a number from 0 (a free one) to {HIGHEST_PORT}")
        if not self.host:
            raise UserError("host= is empty: give 127.0.0.1 for this machine alone, 0.0.0.0 for its whole network")


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("explore", argv, explore)


def explore(cfg: DictConfig) -> None:
    """Serve the page of the run that the config names, until Ctrl-C."""
    keys = settings_of(cfg, Keys)
    keys.check()
    trusted = trusted_targets(keys.trust)
    from splitmix.explore.serve import LOCAL_HOSTS, listening, open_browser, require_gradio, serve, url_of
    from splitmix.runs.loaded import load
    from splitmix.runs.results import changed_config

    require_gradio()
    run = load(keys.run, checkpoint=keys.checkpoint, trusted=trusted)
    if change := changed_config(run.folder, run.settings, run.results):
        log.warning(f"note: {change}: the checkpoint may be of another config")
    from splitmix.explore.download import Download
    from splitmix.explore.explorer import Explorer
    from splitmix.explore.page import page

    bound = listening(keys.host, keys.port)
    url = url_of(bound, keys.host)
    explorer = Explorer(run, keys.calibration)
    log.info(f"{run.checkpoint} checkpoint of {run.folder} after {run.state.round} rounds; measuring latency")
    explorer.latencies_ms  # noqa: B018, read here so that what is wrong with the run or its data ends the command

    def started() -> None:
        if keys.host not in LOCAL_HOSTS:
            log.warning(f"note: host={keys.host}: whoever reaches this machine can use the page; there is no password")
        log.info(f"open {url} in a browser; Ctrl-C ends it")
        if keys.open:
            open_browser(url)

    serve(lambda folder: page(explorer, Download(explorer, folder)), bound, started)
