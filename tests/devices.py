"""Measured devices that tests share."""

from __future__ import annotations

from splitmix.deploy.device import KIND, SCHEMA, Device, Measured


def measured(width=0.25, **changes) -> Measured:
    """A row of device.json: a second to start, half a second for each step."""
    row = {"width": width, "base_models": 2, "load": 2.0, "step_s": 0.5, "step_low_s": 0.4, "step_high_s": 0.6}
    return Measured(**{**row, "start_s": 1.0, "peak_bytes": 10**9, **changes})


def device(*rows, **changes) -> Device:
    """A device of these rows: batches of 10 images, 100 images of its own, seen twice in a round."""
    values = {"kind": KIND, "schema": SCHEMA, "name": "pi", "made": "2026", "machine": {}, "versions": {}}
    values |= {"settings": {}, "batch_size": 10, "base_width": 0.125, "images": 100, "local_epochs": 2}
    return Device(**{**values, "round_seconds": 60.0, "measured": rows or (measured(),), **changes})
