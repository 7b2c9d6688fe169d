"""Copies tensors from the host to a device without waiting for what that device still has to do."""

from __future__ import annotations

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on a device, in a type if one is given; what the device does next finds the copy done.

    Apple's devices are waited for, since they would go on reading the host's memory after it has been given away.
    """
    return tensor.to(device, dtype, non_blocking=device.type != "mps")
