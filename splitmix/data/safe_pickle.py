"""Reading pickles of strangers: arrays, lists, tuples, dictionaries, strings and numbers come out, nothing runs."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from splitmix.errors import UserError

PLAIN = (str, bytes, int, float, bool, type(None))
KINDS = "biufSU"
"""Kinds of arrays that may come out: booleans, numbers, text; never objects."""


def read_pickle(path: Path) -> Any:
    """The content of a pickle file made of plain data.

    Text of Python 2 is read as latin-1, as CIFAR-10 needs.

    Raises:
        UserError: the file is missing or truncated, is no pickle, or holds anything else than plain data.
    """
    try:
        with open(path, "rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
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
    if not _plain(content):
        raise UserError(f"{path} holds something else than arrays, lists and numbers: it was not read")
    return content


class _Refused(Exception):
    pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _CONSTRUCTORS.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise _Refused(f"a reference to {module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a persistent reference")


def _empty_array(kind: Any, shape: Any, dtype: Any) -> Any:
    # numpy's own constructor would also make other classes of arrays.
    if kind is not np.ndarray:
        raise _Refused("a class of arrays of its own")
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _array_of_bytes(data: Any, dtype: Any, shape: Any, order: str = "C") -> Any:
    # How protocol 5 writes arrays.
    if not isinstance(dtype, np.dtype) or dtype.kind not in KINDS or not isinstance(data, bytes | bytearray):
        raise _Refused("an array of an unknown type")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    # How Python 3 writes bytes in old protocols.
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text in the encoding {encoding}")
    return codecs.encode(text, "latin1")


def _scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.kind not in KINDS:
        raise _Refused("a number of an unknown type")
    return np.frombuffer(data if isinstance(data, bytes) else data.encode("latin1"), dtype)[0].item()


_CONSTRUCTORS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array_of_bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1_bytes,
}


def _plain(value: Any) -> bool:
    if isinstance(value, PLAIN):
        return True
    if isinstance(value, np.ndarray):
        return type(value) is np.ndarray and value.dtype.kind in KINDS
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    return isinstance(value, dict) and all(_plain(key) and _plain(item) for key, item in value.items())
