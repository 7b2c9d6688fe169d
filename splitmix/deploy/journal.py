"""rounds.jsonl of a deployment: what became of every client in every round, one line each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splitmix.errors import UserError
from splitmix.files import without_links, write_atomically

FILE = "rounds.jsonl"
EVALUATIONS = "evaluations.jsonl"
"""Of the same kind: one line for each client and evaluation, in which `outcome` is the split, or `missing`."""
ACCEPTED, EMPTY, REFUSED, LATE, DUPLICATE = "accepted", "empty", "refused", "late", "duplicate"
MISSING, FAILED, ABSENT, QUARANTINED = "missing", "failed", "absent", "quarantined"


@dataclass(frozen=True)
class Entry:
    """One client in one round.

    Attributes:
        round: 0-based.
        client: its id.
        outcome: `accepted`; `empty` (it had no batch); `refused` (the update was bad); `late`, `duplicate`; `missing`
            (no answer by the deadline); `failed` (it answered with an error); `absent` (not connected); `quarantined`.
        reason: why, in words.
        seconds: from request to answer.
        loss: mean training loss over its lanes.
        bytes_down, bytes_up: on the wire, the whole messages.
        device_seconds: of an accepted update: how long the node says that it took, from the request's bytes to the
            answer's; the rest of `seconds` is the way there and back, and Flower's start of a process.
    """

    round: int
    client: str
    outcome: str
    reason: str = ""
    seconds: float | None = None
    loss: float | None = None
    bytes_down: int = 0
    bytes_up: int = 0
    device_seconds: float | None = None


class Journal:
    """The entries of a run, kept in its folder.

    Args:
        path: the file; it is made with the first entry.
    """

    def __init__(self, path: Path):
        self.path = path
        self.entries = read_journal(path) if path.is_file() else []

    def drop_from(self, round_index: int) -> None:
        """Drop the entries of round `round_index` and later ones, which a resumed run repeats."""
        self.entries = [entry for entry in self.entries if entry.round < round_index]
        text = "".join(line(entry) for entry in self.entries)
        write_atomically(self.path, lambda file: file.write(text.encode()))

    def add(self, entries: Iterable[Entry]) -> None:
        """Append entries (UserError: the file cannot be written)."""
        new = list(entries)
        try:
            with open(self.path, "a", opener=without_links, encoding="utf-8") as file:
                file.write("".join(map(line, new)))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; make room, then resume the run") from error
        self.entries += new

    def accepted(self, client: str, before: int) -> int | None:
        """The last round before `before` whose update of this client was taken; None if there is none."""
        rounds = [entry.round for entry in self.entries if entry.client == client and entry.outcome == ACCEPTED]
        return max((number for number in rounds if number < before), default=None)

    def quarantined(self, after: int) -> set[str]:
        """The clients with at least so many refused updates."""
        refused = Counter(entry.client for entry in self.entries if entry.outcome == REFUSED)
        return {client for client, count in refused.items() if count >= after}


def line(entry: Entry) -> str:
    """An entry as a line of the file."""
    return json.dumps(asdict(entry)) + "\n"


def read_journal(path: Path) -> list[Entry]:
    """The entries of a file; a last line that a kill cut short is left out.

    Raises:
        UserError: it cannot be read, or another line is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    entries = []
    for number, row in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            values: dict[str, Any] = json.loads(row)
            entries.append(Entry(**values))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: line {number} is damaged; restore the file") from error
    return entries
