"""Reading safetensors files with numpy alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from splitmix.errors import UserError

TYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64}


def header(content: bytes) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, by name, and where its data begins.

    Raises:
        ValueError: it is no such file.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError("its header is longer than the file")
    entries = json.loads(content[8 : 8 + size])
    if not isinstance(entries, dict):
        raise ValueError("its header is no mapping")
    return {name: entry for name, entry in entries.items() if name != "__metadata__"}, 8 + size


def tensors_of(content: bytes, file: str) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a safetensors file, without a copy.

    Args:
        file: its name, for messages.

    Raises:
        UserError: it is no such file, or holds another type than floats and int64.
    """
    try:
        entries, start = header(content)
        tensors = {}
        for name, entry in entries.items():
            dtype, shape = np.dtype(TYPES[entry["dtype"]]), [int(size) for size in entry["shape"]]
            low, high = (int(offset) for offset in entry["data_offsets"])
            if high - low != dtype.itemsize * math.prod(shape) or not 0 <= low <= high <= len(content) - start:
                raise ValueError(f"{name} has another size than its shape says")
            tensors[name] = np.frombuffer(content, dtype, math.prod(shape), start + low).reshape(shape)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}): fetch it again") from error
    return tensors
