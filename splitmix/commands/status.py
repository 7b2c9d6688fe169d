"""`splitmix status`: the clients of a deployment by round: seconds, loss, bytes, refused and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from omegaconf import DictConfig

from splitmix.commands.application import run_application, settings_of
from splitmix.errors import UserError
from splitmix.printing import printable
from splitmix.runs.folders import find_run

POLL_S = 2.0


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/status.yaml`."""

    run: str
    rounds: int
    watch: bool
    page: bool


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("status", argv, status)


def status(cfg: DictConfig) -> None:
    """Print what became of every client in the rounds of a deployment, once or until it ends."""
    keys = settings_of(cfg, Keys)
    if keys.rounds < 1:
        raise UserError(f"rounds={keys.rounds}: give at least 1")
    folder = find_run("run", keys.run)
    from splitmix.deploy.journal import FILE

    if not (folder / FILE).is_file():
        raise UserError(f"run={keys.run}: {folder / FILE} is missing; it is not a deployment, or no round is done")
    before = None
    while True:
        now = state_of(folder)
        if now != before:
            show(folder, keys, now)
        if not keys.watch or now[0] != "running":
            return
        before = now
        sleep(POLL_S)


def state_of(folder: Path) -> tuple[str, int, int]:
    """Whether a run is running, its rounds, and the length of its journal."""
    from splitmix.deploy.journal import FILE
    from splitmix.runs.results import status_now
    from splitmix.runs.results_file import read_results

    results = read_results(folder / "results.json")
    return status_now(folder, results), int(results.get("rounds") or 0), (folder / FILE).stat().st_size


def show(folder: Path, keys: Keys, now: tuple[str, int, int]) -> None:
    """Print the tables once, on a terminal that is watched in place of the former ones; write the page if asked."""
    from splitmix.deploy.journal import EVALUATIONS, FILE, read_journal
    from splitmix.deploy.status_page import write_page
    from splitmix.deploy.summary import client_rows, evaluation_bytes, round_rows
    from splitmix.reporting.tables import print_table, text_table

    entries = read_journal(folder / FILE)
    done = max((entry.round for entry in entries), default=-1) + 1
    if keys.watch and sys.stdout.isatty():
        print("\x1b[2J\x1b[H", end="")
    print(printable(f"{folder}\n{now[0]}, {done} of {now[1]} rounds\n"))
    besides = read_journal(folder / EVALUATIONS) if (folder / EVALUATIONS).is_file() else []
    caption = f"Clients over all rounds; bytes are those of whole messages. {evaluation_bytes(besides)}"
    print_table(text_table(client_rows(entries), caption, last=True))
    caption = f"The last {min(keys.rounds, done)} rounds."
    shown = [entry for entry in entries if entry.round >= done - keys.rounds]
    print_table(text_table(round_rows(shown), caption, last=True))
    if keys.page:
        print(printable(f"page: {write_page(folder, now[0], now[1], entries)}"))
    sys.stdout.flush()
