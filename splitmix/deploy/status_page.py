"""status.html of a deployment: clients by rounds, which a browser shows anew every few seconds while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from splitmix.deploy.journal import ACCEPTED, Entry
from splitmix.deploy.summary import client_rows, loss_of
from splitmix.files import write_atomically

FILE = "status.html"
MOST_ROUNDS = 100
"""The newest rounds that stand side by side."""


@dataclass(frozen=True)
class Cell:
    """A client in a round.

    Attributes:
        lines: of text.
        out: it was left out.
    """

    lines: tuple[str, ...]
    out: bool


def write_page(folder: Path, state: str, rounds: object, entries: Sequence[Entry]) -> Path:
    """Write the page of a run.

    Args:
        folder: of the run.
        state: running, finished, failed or stopped.
        rounds: of the whole run.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
    """
    done = max((entry.round for entry in entries), default=-1) + 1
    numbers = range(max(0, done - MOST_ROUNDS), done)
    environment = Environment(loader=PackageLoader("splitmix.deploy"), autoescape=True, undefined=StrictUndefined)
    clients = dict.fromkeys(entry.client for entry in entries)
    text = environment.get_template(FILE).render(
        name=folder.name,
        state=state,
        running=state == "running",
        done=done,
        rounds=rounds,
        clients=client_rows(entries),
        numbers=numbers,
        matrix=[(client, [cell(entries, client, number) for number in numbers]) for client in clients],
    )
    write_atomically(folder / FILE, lambda file: file.write(text.encode()))
    return folder / FILE


def cell(entries: Sequence[Entry], client: str, number: int) -> Cell:
    """What became of a client in a round; of several attempts each."""
    matching = [entry for entry in entries if entry.client == client and entry.round == number]
    lines: list[str] = []
    for entry in matching:
        if entry.outcome == ACCEPTED:
            size = f"{entry.bytes_down / 1e6:.2f} / {entry.bytes_up / 1e6:.2f} MB"
            lines += [f"{entry.seconds or 0:.1f} s", f"loss {loss_of(entry)}", size]
        else:
            lines += [entry.outcome, *([entry.reason] if entry.reason else [])]
    return Cell(tuple(lines), any(entry.outcome != ACCEPTED for entry in matching))
