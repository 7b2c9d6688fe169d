"""Forward-mode derivatives without the warning that PyTorch gives itself when it first prepares for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch.func
from torch import Tensor


def jvp(function: Callable[..., Any], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> Any:
    """`torch.func.jvp`: the value of a function, and its derivative along the tangents."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script`", category=FutureWarning)
        return torch.func.jvp(function, primals, tangents)
