"""Reading pickles of strangers: arrays, lists, tuples, dictionaries, strings and numbers come out, nothing runs."""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import re
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

from splitmix.data.limits import PICKLE
from splitmix.errors import UserError
from splitmix.printing import excerpt
from splitmix.regular_files import open_regular

PLAIN = (str, bytes, int, float, bool, type(None))
TYPE = re.compile(r"[<>|=]?([biufSU][1-9][0-9]*)")
"""Types of arrays that may come out: booleans, numbers, text; never objects."""
DIMENSIONS = 32
DEEPEST = 20
"""Containers within containers; real data have two or three."""
OPERATION = 512
"""Bytes that one operation of a pickle takes at most beside its argument: a dictionary, read and converted."""


def read_pickle(path: Path) -> Any:
    """The content of a pickle file made of plain data.

    Text of Python 2 is read as latin-1, as CIFAR-10 needs. While the file is read, no array exists, only notes of what
    it asks for; arrays are made from them afterwards, checked: a live one could be told to write outside its memory.
    What the content takes is counted before it is made.

    Raises:
        UserError: the file is missing or truncated, is no pickle, holds anything else than plain data, or more of them
            than the limit allows.
    """
    try:
        with open_regular(path) as file:
            budget = _Budget(path)
            budget.spend(os.fstat(file.fileno()).st_size)
            content = io.BytesIO(file.read())  # never more of it than there is, whatever length an operation claims
        _weigh(content, budget)
        content.seek(0)
        return _Converter(budget).converted(_Reader(content, encoding="latin1").load(), 0)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except _Refused as error:
        raise UserError(
            f"{path} holds {excerpt(error)}, not just arrays, lists and numbers: it may be hostile and was not read"
        ) from None
    except MemoryError:
        raise UserError(f"{path} asks for more memory than there is: it is damaged or hostile") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{path} is truncated or no pickle file ({type(error).__name__}: {excerpt(error)})") from None


class _Budget:
    """Bytes that the content of a file may still take."""

    def __init__(self, path: Path):
        self.path, self.left = path, PICKLE.value

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise PICKLE.refusal(f"{self.path}: its content takes more memory than allowed")


def _weigh(file: IO[bytes], budget: _Budget) -> None:
    """Count what reading a pickle takes, operation by operation, without doing any of it."""
    for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
        budget.spend(OPERATION + sys.getsizeof(argument))
        if "PUT" in operation.name and argument is not None and argument > number:
            # The reader makes room for all numbers below.
            raise _Refused("a reference with a number out of order")
        if type(argument) is int and argument.bit_length() > 64:
            # Equal hashes of such numbers make a dictionary take for ever.
            raise _Refused("a number of more than 64 bits")


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
    ("__builtin__", "bytes"): "no bytes",  # how Python 3 writes empty bytes in old protocols
    ("builtins", "bytes"): "no bytes",
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        kind = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if kind is None:
            raise _Refused(f"a reference to {module}.{name}")
        return _Name(kind)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a persistent reference")


class _Converter:
    """Makes plain data of what was read, each thing once."""

    def __init__(self, budget: _Budget):
        self.budget = budget
        self.done: dict[int, tuple[Any, Any]] = {}

    def converted(self, value: Any, depth: int) -> Any:
        if type(value) in PLAIN:
            return value
        if id(value) in self.done:
            return self.done[id(value)][1]
        if depth > DEEPEST:
            raise _Refused("containers nested without end")
        made: Any
        if type(value) is list:
            made = [self.converted(item, depth + 1) for item in value]
        elif type(value) is tuple:
            made = tuple(self.converted(item, depth + 1) for item in value)
        elif type(value) is dict:
            made = {self.converted(key, depth + 1): self.converted(item, depth + 1) for key, item in value.items()}
        elif type(value) is _Note:
            made = self.made(value)
        else:
            raise _Refused(f"a value of type {type(value).__name__}")
        self.done[id(value)] = value, made  # the value too, so that its id stays its own
        return made

    def made(self, note: _Note) -> Any:
        arguments = note.arguments
        if note.kind in ("bytes", "no bytes"):
            return self.raw_bytes(note)
        if note.kind == "number":
            dtype, data = arguments
            return self.array(data, dtype, (), False)[()].item()
        if note.kind == "buffer":
            data, dtype, shape, order = arguments
            return self.array(data, dtype, shape, order == "F")
        if note.kind == "array" and type(arguments[0]) is _Name and arguments[0].kind == "class":
            _, shape, dtype, fortran, data = note.state
            return self.array(data, dtype, shape, bool(fortran))
        raise _Refused("a class of its own")

    def array(self, data: Any, dtype: Any, shape: Any, fortran: bool) -> Any:
        known = _dtype(dtype)
        raw = self.raw_bytes(data)
        sizes = type(shape) is tuple and len(shape) <= DIMENSIONS
        if not sizes or not all(type(size) is int and size >= 0 for size in shape):
            raise _Refused("an array of no shape")
        if len(raw) != math.prod(shape) * known.itemsize:
            raise _Refused("an array of another size than its shape")
        self.budget.spend(len(raw))
        flat = np.frombuffer(raw, known) if raw else np.empty(0, known)
        return flat.reshape(shape, order="F" if fortran else "C").copy()

    def raw_bytes(self, data: Any) -> bytes:
        """The bytes of an array; a file may ask for the same ones again and again."""
        if type(data) is _Note and data.kind == "bytes" and len(data.arguments) == 2:
            # How Python 3 writes bytes in old protocols.
            text, encoding = data.arguments
            if type(text) is not str or encoding not in ("latin1", "latin-1"):
                raise _Refused("text in another encoding")
        elif type(data) is _Note and data.kind == "no bytes" and not data.arguments:
            text = ""
        elif type(data) is str:
            text = data
        elif type(data) in (bytes, bytearray):
            return bytes(data)
        else:
            raise _Refused("an array of objects")
        self.budget.spend(len(text))
        return text.encode("latin1")


def _dtype(note: Any) -> Any:
    if type(note) is not _Note or note.kind != "type" or type(note.arguments[0]) is not str:
        raise _Refused("an array of an unknown type")
    matched = TYPE.fullmatch(note.arguments[0])
    if matched is None:
        raise _Refused(f"an array of type {note.arguments[0]}")
    order = note.state[1] if type(note.state) is tuple and note.state[1] in ("<", ">", "|", "=") else "="
    return np.dtype(order + matched[1])
