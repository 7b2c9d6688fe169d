"""`splitmix status`: the clients of a deployment by round: seconds, loss, bytes, refused and why."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from splitmix.commands.application import run_application, settings_of
from splitmix.errors import UserError
from splitmix.printing import printable
from splitmix.runs.folders import find_run


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/status.yaml`."""

    run: str
    rounds: int


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("status", argv, status)


def status(cfg: DictConfig) -> None:
    """Print what became of every client in the rounds of a deployment."""
    keys = settings_of(cfg, Keys)
    if keys.rounds < 1:
        raise UserError(f"rounds={keys.rounds}: give at least 1")
    folder = find_run("run", keys.run)
    from splitmix.deploy.journal import FILE, read_journal
    from splitmix.deploy.summary import client_rows, round_rows
    from splitmix.reporting.tables import print_table, text_table
    from splitmix.runs.results import status_now
    from splitmix.runs.results_file import read_results

    if not (folder / FILE).is_file():
        raise UserError(f"run={keys.run}: {folder / FILE} is missing; it is not a deployment, or no round is done")
    entries = read_journal(folder / FILE)
    results = read_results(folder / "results.json")
    done = max((entry.round for entry in entries), default=-1) + 1
    print(printable(f"{folder}\n{status_now(folder, results)}, {done} of {results.get('rounds')} rounds\n"))
    print_table(text_table(client_rows(entries), "Clients over all rounds; bytes are those of whole messages."))
    caption = f"The last {min(keys.rounds, done)} rounds."
    print_table(text_table(round_rows([entry for entry in entries if entry.round >= done - keys.rounds]), caption))
