"""Values made of JSON and arrays, as bytes for a disk or a network, and tensors as arrays. No code travels in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from splitmix.models.network import Tensors


def arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    """Tensors as NumPy arrays."""
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


def tensors_of(values: Mapping[str, Any]) -> Tensors:
    """NumPy arrays as tensors of their own."""
    return {name: torch.from_numpy(np.array(value)) for name, value in values.items()}


def to_bytes(data: Mapping[str, Any]) -> bytes:
    """The dict form of a value as bytes: a `.npz` archive of its arrays and of one JSON text. It holds no code."""
    stored: dict[str, Any] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            stored[f"array{len(stored)}"] = value
            return {"__array__": len(stored) - 1}
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    text = json.dumps(plain(data)).encode()
    file = io.BytesIO()
    np.savez(file, json=np.frombuffer(text, np.uint8), **stored)
    return file.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The dict form that `to_bytes` was given."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:

        def restored(value: Any) -> Any:
            if isinstance(value, dict):
                if value.keys() == {"__array__"}:
                    return stored[f"array{value['__array__']}"]
                return {key: restored(item) for key, item in value.items()}
            return [restored(item) for item in value] if isinstance(value, list) else value

        content: dict[str, Any] = restored(json.loads(stored["json"].tobytes()))
    return content
