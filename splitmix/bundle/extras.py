"""Packages that only some exports need: imported when used, and named by their extra where they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from splitmix.errors import UserError

EXTRAS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime", "safetensors"),
    "executorch": ("executorch",),
    "hub": ("huggingface_hub",),
}
"""The packages of an extra, `pip install 'splitmix[<extra>]'`."""


def require(extra: str, what: str) -> None:
    """Raise UserError, naming the extra, unless its packages can be imported.

    Args:
        what: the key and value that need it, for the message.
    """
    for package in EXTRAS[extra]:
        imported(package, extra, what)


def imported(package: str, extra: str, what: str) -> ModuleType:
    """A package of an extra; UserError names the extra if it is missing."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(f"{what} needs {package} ({error}): pip install 'splitmix[{extra}]'") from error
