"""What `splitmix probe` and `splitmix plan` print: rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from splitmix.algorithms.method import Method
from splitmix.deploy.device import Device
from splitmix.deploy.planning import Member, Prediction
from splitmix.evaluation.profile import WIDE
from splitmix.fleet import Fleet
from splitmix.payload import payload_bytes
from splitmix.reporting.tables import milliseconds, quantity


def device_rows(device: Device) -> list[list[str]]:
    """Header and a row for each budget."""
    header = ["width", "base\nmodels", "ms per step", "s per round", "peak memory", ""]
    rows = []
    for row in device.measured:
        low, middle, high = (milliseconds(value) for value in (row.step_low_s, row.step_s, row.step_high_s))
        seconds = row.round_s(device.seen, device.batch_size)
        best = "budget" if row.width == device.budget else ""
        step = f"{middle} ({low} to {high})"
        memory = quantity(row.peak_bytes, "B")
        rows.append([f"×{row.width:g}", str(row.base_models), step, f"{seconds:.3g}", memory, best])
    return [header, *rows]


def device_caption(device: Device) -> str:
    """What the rows are."""
    return (
        f"{device.name}: a training step of {device.batch_size} images (median; half of the times in brackets), a round"
        f" of {device.seen} images, the process's peak memory."
    )


def busy_note(device: Device) -> str | None:
    """In words, if the machine was too busy to measure it."""
    wide = [row for row in device.measured if row.step_high_s - row.step_low_s > WIDE * row.step_s]
    if not wide:
        return None
    widths = ", ".join(f"×{row.width:g}" for row in wide)
    return f"times at {widths} varied widely: this machine is busy; measure again when it is idle, or raise repeats"


def fleet_rows(fleet: Fleet, members: Sequence[Member], method: Method) -> list[list[str]]:
    """Header and a row for each client."""
    rows = [["client", "budget", "base\nmodels", "s per round", "peak memory", "bytes/round"]]
    for client, member in zip(fleet.clients, members, strict=True):
        memory = quantity(member.measured.peak_bytes, "B")
        sent = quantity(payload_bytes(method.upload_entries(client.budget)), "B")
        models = str(member.measured.base_models)
        rows.append([client.id, f"×{client.budget:g}", models, f"{member.seconds:.3g}", memory, sent])
    return rows


FLEET_CAPTION = "Clients: seconds of training in a round, the process's peak memory, bytes each way."


def fleet_notes(fleet: Fleet, predicted: Prediction, full: float, least: float) -> list[str]:
    """What a user must know of a plan, a line each.

    Args:
        full: the largest budget that the devices were probed with.
        least: clients that should train each part of the model in a round, on average.
    """
    notes = []
    widest = max(client.budget for client in fleet.clients)
    if widest < full:
        notes.append(f"no client can train more than ×{widest:g}: the widest model of a run will be ×{widest:g}")
    if thin := {name: count for name, count in predicted.trainers.items() if count < least}:
        names = list(thin)
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        notes.append(
            f"too few clients train {some}: {min(thin.values()):.2g} to {max(thin.values()):.2g} in a round on average,"
            f" least={least:g}; raise round_seconds, or take more devices"
        )
    return notes
