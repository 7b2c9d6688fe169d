"""The only door to advertorch, whose last release asks torch for a function that it no longer has."""

from __future__ import annotations

import importlib
import sys
import warnings
from functools import cache
from types import ModuleType

from torch import Tensor


def zero_gradients(images: Tensor) -> None:
    """What torch.autograd.gradcheck.zero_gradients did until torch 1.9."""
    if images.grad is not None:
        images.grad.detach_().zero_()


def advertorch_attacks() -> ModuleType:
    """The module advertorch.attacks."""
    return imported("advertorch.attacks")


def advertorch_utils() -> ModuleType:
    """The module advertorch.utils."""
    advertorch_attacks()
    return imported("advertorch.utils")


@cache
def imported(name: str) -> ModuleType:
    """A module of advertorch; the missing name is there for the time of the import alone."""
    # The attribute torch.autograd.gradcheck is the function of that name; the module is this one.
    module = sys.modules["torch.autograd.gradcheck"]
    missing = not hasattr(module, "zero_gradients")
    if missing:
        module.__dict__["zero_gradients"] = zero_gradients
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    finally:
        if missing:
            del module.__dict__["zero_gradients"]
