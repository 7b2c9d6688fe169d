"""device.json: what `splitmix probe` measured on a device, and the budget that follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from splitmix.errors import UserError
from splitmix.files import write_atomically
from splitmix.reading import read_json

KIND, SCHEMA = "splitmix device", 1

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=1, le=10**12)]


class Measured(Struct, frozen=True):
    """What a client of one budget costs on the device.

    Attributes:
        width: the budget.
        base_models: models that such a client trains together.
        load: how many base models cost as much as its training step, by their MACs.
        step_s: seconds of a training step; `step_low_s` and `step_high_s` are the quartiles.
        start_s: seconds of a round beside its steps, the start of a process with it where that was measured.
        peak_bytes: the most memory that the process had (on a GPU: that PyTorch had there); None is not known.
    """

    width: Annotated[float, Meta(gt=0, le=1)]
    base_models: Count
    load: Positive
    step_s: Positive
    step_low_s: Seconds
    step_high_s: Seconds
    start_s: Seconds
    peak_bytes: Count | None = None

    def round_s(self, images: float, batch_size: int) -> float:
        """Seconds of a round of so many images."""
        return self.start_s + self.step_s * images / batch_size


class Device(Struct, frozen=True):
    """The file.

    Attributes:
        name: of the device.
        made: when, in UTC.
        machine, versions: where and with what it was measured.
        settings: what was trained: algorithm, model, image_shape, classes.
        batch_size: images of a training step.
        base_width: width of the base model that `load` counts in.
        images: training images of the device, as was assumed; each is seen `local_epochs` times in a round.
        round_seconds, max_memory: limits that `budget` keeps; `max_memory` in bytes, None is no limit.
        budget: the largest width that keeps them; None if there is none.
    """

    kind: str
    schema: int
    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,80}$")]
    made: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    batch_size: Count
    base_width: Annotated[float, Meta(gt=0, le=1)]
    images: Count
    local_epochs: Count
    round_seconds: Positive
    measured: Annotated[tuple[Measured, ...], Meta(min_length=1)]
    max_memory: Count | None = None
    budget: Annotated[float, Meta(gt=0, le=1)] | None = None

    @property
    def seen(self) -> int:
        """Images of a round, one that is seen twice counted twice."""
        return self.images * self.local_epochs

    def fitting(self, round_seconds: float, max_memory: int | None) -> Measured | None:
        """The largest budget that keeps these limits; None if there is none. What is not known keeps no limit."""

        def fits(row: Measured) -> bool:
            in_memory = max_memory is None or (row.peak_bytes is not None and row.peak_bytes <= max_memory)
            return in_memory and row.round_s(self.seen, self.batch_size) <= round_seconds

        return max(filter(fits, self.measured), key=lambda row: row.width, default=None)


def write_device(path: Path, device: Device) -> None:
    """Write the file (UserError: it cannot be written)."""
    text = json.dumps(msgspec.to_builtins(device), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_device(path: Path) -> Device:
    """The device in a file.

    Raises:
        UserError: it cannot be read, is damaged, of another kind, or of a newer version.
    """
    content = read_json(path)
    if not isinstance(content, Mapping) or content.get("kind") != KIND:
        raise UserError(f"{path} is not a device.json; make one with splitmix probe on the device")
    if content.get("schema") != SCHEMA:
        raise UserError(
            f"{path} is of schema {str(content.get('schema'))[:20]}, this version of splitmix reads {SCHEMA}: use the"
            " version that wrote it, or probe the device again"
        )
    try:
        device = msgspec.convert(content, Device)
        widths = [row.width for row in device.measured]
        if widths != sorted(set(widths)):
            raise ValueError("the widths in `$.measured` do not ascend")
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): probe the device again") from error
    return device
