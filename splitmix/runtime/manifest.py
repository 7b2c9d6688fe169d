"""manifest.json of a bundle: what it holds, what each part is and costs; read from strangers, so checked first."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitmix.errors import UserError

SCHEMA = 1
MANIFEST = "manifest.json"
GRAPH = "base_model.onnx"
MODEL = "model.onnx"
PART = re.compile(r"parts/b\d{1,4}\.safetensors")
MOST_BYTES = 32 * 1024 * 1024
"""Bytes of the largest manifest that is read."""


@dataclass(frozen=True)
class Part:
    """The weights of one base model.

    Attributes:
        file: its path inside the bundle.
        bytes: size of the file.
        sha256: of the file, in hex.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds.

    Attributes:
        folder: where the bundle lies.
        values: the whole manifest.json.
        parts: the base models, in the order in which they are mixed.
        widths: the width of so many base models, ascending.
        classes: names of the classes.
        input_shape: channels, height, width of an image.
        resize: whether images of other sizes are resized, as the run's dataset did.
        dual: whether there is a level of robustness to choose.
        costs: MACs per image, parameters and bytes of each width.
    """

    folder: Path
    values: dict[str, Any]
    parts: tuple[Part, ...]
    widths: tuple[float, ...]
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    resize: bool
    dual: bool
    costs: tuple[Mapping[str, float], ...]

    @property
    def held(self) -> int:
        """How many base models are present, from the first on without a gap."""
        present = [(self.folder / part.file).is_file() for part in self.parts]
        return next((number for number, there in enumerate(present) if not there), len(present))

    def count(self, width: float) -> int:
        """Number of base models of a width.

        Raises:
            UserError: there is no such width.
        """
        for number, known in enumerate(self.widths, 1):
            if abs(known - width) <= 1e-6:
                return number
        raise UserError(f"width={width:g}: this bundle gives {', '.join(f'{known:g}' for known in self.widths)}")

    def check_adv_lambda(self, adv_lambda: float) -> None:
        """Raise UserError for a level of robustness that the bundle cannot give."""
        if not 0 <= adv_lambda <= 1:
            raise UserError(f"adv_lambda={adv_lambda:g}: give a value from 0 to 1")
        if adv_lambda and not self.dual:
            raise UserError(
                f"adv_lambda={adv_lambda:g}: the run was trained without dual batch normalisation, only 0 is possible"
            )

    def missing(self, count: int) -> list[str]:
        """The files that are missing for so many base models."""
        return [part.file for part in self.parts[:count] if not (self.folder / part.file).is_file()]

    def check_held(self, count: int, held: int) -> None:
        """Raise UserError, naming the missing files, if fewer base models are held than asked for."""
        if count > held:
            missing = self.missing(count) or [part.file for part in self.parts[held:count]]
            raise UserError(
                f"width={self.widths[count - 1]:g}: needs {count} base models, and {self.folder} holds {held};"
                f" missing: {', '.join(missing)}; fetch them, or choose a width up to {self.widths[max(held, 1) - 1]:g}"
            )


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a bundle.

    Raises:
        UserError: no bundle there, a damaged manifest, a newer schema.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES} bytes: no manifest of a bundle")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is no bundle ({MANIFEST} is missing); splitmix export makes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): fetch it again") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int or schema < 1:
        raise UserError(f"{path} is no manifest of a bundle (it has no schema)")
    if schema > SCHEMA:
        raise UserError(f"{path} has schema {schema}, and this splitmix reads up to {SCHEMA}: upgrade splitmix")
    try:
        return _checked(folder, values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): fetch it again") from error


def _checked(folder: Path, values: dict[str, Any]) -> Manifest:
    parts = tuple(Part(str(one["file"]), int(one["bytes"]), str(one["sha256"])) for one in values["parts"])
    widths = tuple(float(width) for width in values["widths"])
    channels, height, width = (int(size) for size in values["input_shape"])
    costs = tuple({key: float(one[key]) for key in ("macs", "params", "bytes")} for one in values["costs"])
    if not parts or len({len(parts), len(widths), len(costs)}) > 1 or list(widths) != sorted(widths):
        raise ValueError("parts, widths and costs do not fit each other")
    for part in parts:
        # Anything else could lead out of the folder.
        if not PART.fullmatch(part.file):
            raise ValueError(f"{part.file[:80]!r} is no name of a part")
    classes = tuple(str(name) for name in values["classes"])
    if min(channels, height, width, len(classes)) < 1:
        raise ValueError("input_shape or classes are empty")
    dual, resize = values["dual"] is True, values["resize"] is True
    return Manifest(folder, values, parts, widths, classes, (channels, height, width), resize, dual, costs)


def sha256(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def read_checked(folder: Path, file: str, size: int, digest: str) -> bytes:
    """The content of a bundle's file.

    Raises:
        UserError: it is missing, truncated, or was altered.
    """
    path = folder / file
    try:
        if path.stat().st_size != size:
            raise UserError(f"{path} has {path.stat().st_size} bytes instead of {size}: fetch it again")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): fetch it again") from error
    if sha256(content) != digest:
        raise UserError(f"{path} was altered (its SHA-256 is not the manifest's): fetch it again")
    return content
