"""Reading pickles of strangers: arrays, lists, tuples, dictionaries, strings and numbers come out, nothing runs."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from splitmix.errors import UserError

PLAIN = (str, bytes, int, float, bool, type(None))
TYPE = re.compile(r"[<>|=]?([biufSU][1-9][0-9]*)")
"""Types of arrays that may come out: booleans, numbers, text; never objects."""
DEEPEST = 20
"""Containers within containers; real data have two or three."""


def read_pickle(path: Path) -> Any:
    """The content of a pickle file made of plain data.

    Text of Python 2 is read as latin-1, as CIFAR-10 needs. While the file is read, no array exists, only notes of what
    it asks for; arrays are made from them afterwards, checked: a live one could be told to write outside its memory.

    Raises:
        UserError: the file is missing or truncated, is no pickle, or holds anything else than plain data.
    """
    try:
        with open(path, "rb") as file:
            return _converted(_Reader(file, encoding="latin1").load(), 0, {})
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except _Refused as error:
        raise UserError(
            f"{path} holds {error}, not just arrays, lists and numbers: it may be hostile and was not read"
        ) from None
    except MemoryError:
        raise UserError(f"{path} asks for more memory than there is: it is damaged or hostile") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{path} is truncated or no pickle file ({type(error).__name__}: {error})") from None


class _Refused(Exception):
    pass


class _Note:
    """What the file wants to call, with what, and the state that it wants to give the result."""

    __slots__ = ("arguments", "kind", "state")

    def __init__(self, kind: str, arguments: tuple[Any, ...]):
        self.kind, self.arguments = kind, arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Name:
    """A name that the file refers to; calling it takes a note."""

    __slots__ = ("kind",)

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(self, *arguments: Any) -> _Note:
        return _Note(self.kind, arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a changed function")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy.core.multiarray", "scalar"): "number",
    ("numpy.core.numeric", "_frombuffer"): "buffer",
    ("numpy", "ndarray"): "class",
    ("numpy", "dtype"): "type",
    ("_codecs", "encode"): "bytes",
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        kind = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if kind is None:
            raise _Refused(f"a reference to {module}.{name}")
        return _Name(kind)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a persistent reference")


def _converted(value: Any, depth: int, done: dict[int, tuple[Any, Any]]) -> Any:
    if type(value) in PLAIN:
        return value
    if id(value) in done:
        return done[id(value)][1]
    if depth > DEEPEST:
        raise _Refused("containers nested without end")
    made: Any
    if type(value) is list:
        made = [_converted(item, depth + 1, done) for item in value]
    elif type(value) is tuple:
        made = tuple(_converted(item, depth + 1, done) for item in value)
    elif type(value) is dict:
        made = {_converted(key, depth + 1, done): _converted(item, depth + 1, done) for key, item in value.items()}
    elif type(value) is _Note:
        made = _made(value)
    else:
        raise _Refused(f"a value of type {type(value).__name__}")
    done[id(value)] = value, made  # the value too, so that its id stays its own
    return made


def _made(note: _Note) -> Any:
    arguments = note.arguments
    if note.kind == "bytes":
        return _bytes(note)
    if note.kind == "number":
        dtype, data = arguments
        return _array(data, dtype, (), False)[()].item()
    if note.kind == "buffer":
        data, dtype, shape, order = arguments
        return _array(data, dtype, shape, order == "F")
    if note.kind == "array" and type(arguments[0]) is _Name and arguments[0].kind == "class":
        _, shape, dtype, fortran, data = note.state
        return _array(data, dtype, shape, bool(fortran))
    raise _Refused("a class of its own")


def _array(data: Any, dtype: Any, shape: Any, fortran: bool) -> Any:
    known = _dtype(dtype)
    raw = _bytes(data)
    if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
        raise _Refused("an array of no shape")
    if len(raw) != math.prod(shape) * known.itemsize:
        raise _Refused("an array of another size than its shape")
    return np.frombuffer(raw, known).reshape(shape, order="F" if fortran else "C").copy()


def _dtype(note: Any) -> Any:
    if type(note) is not _Note or note.kind != "type" or type(note.arguments[0]) is not str:
        raise _Refused("an array of an unknown type")
    found = TYPE.fullmatch(note.arguments[0])
    if found is None:
        raise _Refused(f"an array of type {note.arguments[0]}")
    order = note.state[1] if type(note.state) is tuple and note.state[1] in ("<", ">", "|", "=") else "="
    return np.dtype(order + found[1])


def _bytes(data: Any) -> bytes:
    if type(data) is _Note and data.kind == "bytes" and len(data.arguments) == 2:
        # How Python 3 writes bytes in old protocols.
        text, encoding = data.arguments
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise _Refused("text in another encoding")
        return text.encode("latin1")
    if type(data) is str:
        return data.encode("latin1")
    if type(data) not in (bytes, bytearray):
        raise _Refused("an array of objects")
    return bytes(data)
