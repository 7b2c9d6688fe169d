"""The journal of a deployment as rows of text: by client, and round by round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean

from splitmix.deploy.journal import ACCEPTED, Entry


def client_rows(entries: Sequence[Entry]) -> list[list[str]]:
    """A header and a row for each client over all rounds."""
    numbers = "taken", "last\nround", "seconds", "on\ndevice", "loss", "MB\ndown", "MB\nup"
    rows = [["client", *numbers, "left out, and why last"]]
    for client in dict.fromkeys(entry.client for entry in entries):
        of_client = [entry for entry in entries if entry.client == client]
        good = [entry for entry in of_client if entry.outcome == ACCEPTED]
        rows.append(
            [
                client,
                str(len(good)),
                str(good[-1].round + 1) if good else "never",
                mean_of([entry.seconds for entry in good]),
                mean_of([entry.device_seconds for entry in good]),
                loss_of(good[-1]) if good else "-",
                f"{sum(entry.bytes_down for entry in of_client) / 1e6:.2f}",
                f"{sum(entry.bytes_up for entry in of_client) / 1e6:.2f}",
                left_out([entry for entry in of_client if entry.outcome != ACCEPTED]),
            ]
        )
    return rows


def round_rows(entries: Sequence[Entry]) -> list[list[str]]:
    """A header and a row for each client in each round."""
    rows = [["round", "client", "outcome", "seconds", "loss", "why"]]
    for entry in entries:
        seconds = "-" if entry.seconds is None else f"{entry.seconds:.1f}"
        rows.append([str(entry.round + 1), entry.client, entry.outcome, seconds, loss_of(entry), entry.reason or "-"])
    return rows


def left_out(entries: Sequence[Entry]) -> str:
    """How often a client was left out, by outcome, and the reason that was given last."""
    counted = Counter(entry.outcome for entry in entries)
    reasons = [entry.reason for entry in entries if entry.reason]
    outcomes = ", ".join(f"{outcome} {count}" for outcome, count in counted.items()) or "-"
    return f"{outcomes}: {reasons[-1]}" if reasons else outcomes


def mean_of(seconds: Sequence[float | None]) -> str:
    """The mean of those that are known."""
    known = [value for value in seconds if value is not None]
    return f"{mean(known):.1f}" if known else "-"


def loss_of(entry: Entry) -> str:
    """The loss of an entry."""
    return "-" if entry.loss is None else f"{entry.loss:.4f}"


def evaluation_bytes(entries: Sequence[Entry]) -> str:
    """The bytes of all evaluations, in a sentence."""
    down, up = (sum(getattr(entry, key) for entry in entries) / 1e6 for key in ("bytes_down", "bytes_up"))
    return f"Evaluations took {down:.2f} MB down and {up:.2f} MB up besides."
