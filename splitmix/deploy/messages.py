"""Requests and answers of a deployment as bytes: read with limits, since another machine has written them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import splitmix
from splitmix.algorithms.plain_data import from_bytes, to_bytes

PROTOCOL = 1
"""Version of the messages; both sides must have the same."""
HELLO, TRAIN, EVALUATE = "hello", "train", "evaluate"
OVERHEAD_SHARE, OVERHEAD_BYTES = 0.02, 256 * 1024
"""How many bytes an answer may have beside its tensors: this share of theirs, and names, shapes and measurements."""


class BadMessage(Exception):
    """A message that cannot be used; the text says why, in words."""


def packed(kind: str, content: Mapping[str, Any]) -> bytes:
    """A message of this kind as bytes.

    Args:
        content: JSON values and NumPy arrays.
    """
    return to_bytes({**content, "protocol": PROTOCOL, "version": splitmix.__version__, "kind": kind})


def most_bytes(tensor_bytes: int) -> int:
    """The longest message that can hold tensors of so many bytes."""
    return int(tensor_bytes * (1 + OVERHEAD_SHARE)) + OVERHEAD_BYTES


def unpacked(data: bytes, kind: str | None = None, most: int | None = None) -> dict[str, Any]:
    """The content of a message.

    Args:
        kind: the only kind that is accepted; None accepts all.
        most: refuse longer messages before they are read; None reads all.

    Raises:
        BadMessage: too long, damaged, of another version or of another kind.
    """
    if most is not None and len(data) > most:
        raise BadMessage(f"too long: {len(data):,} bytes where at most {most:,} are expected")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Nothing of ours is compressed, so that a small message cannot unpack to a large one.
            packed_entries = any(entry.compress_type for entry in archive.filelist)
        if packed_entries or sum(entry.file_size for entry in archive.filelist) > len(data):
            raise ValueError("compressed")
        content = from_bytes(data)
    except Exception as error:  # whatever zipfile, json and numpy meet in damaged bytes
        raise BadMessage(f"malformed ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("protocol") != PROTOCOL:
        raise BadMessage(f"not a message of protocol {PROTOCOL}")
    if content.get("version") != splitmix.__version__:
        raise BadMessage(
            f"wrong version: splitmix {str(content.get('version'))[:40]} there, {splitmix.__version__} here;"
            " install the same"
        )
    if kind is not None and content.get("kind") != kind:
        raise BadMessage(f"wrong kind: {str(content.get('kind'))[:40]} where {kind} is expected")
    return content
