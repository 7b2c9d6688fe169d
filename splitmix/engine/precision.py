"""Where and in which precision lanes are trained: a plain value, so that workers need no Lightning to follow it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

PRECISIONS = ("32-true", "tf32", "bf16-mixed", "64-true")


@dataclass(frozen=True)
class Place:
    """A device and a precision.

    Attributes:
        device: of parameters and images.
        precision: tf32, or as Lightning names it: 32-true, bf16-mixed or 64-true.
    """

    device: torch.device
    precision: str = "32-true"

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters in training and of images."""
        return torch.float64 if self.precision == "64-true" else torch.float32

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Forward passes in this precision, as Fabric's context of the same name."""
        if self.precision == "bf16-mixed":
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                yield
        elif self.precision == "64-true":
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)
            try:
                yield
            finally:
                torch.set_default_dtype(before)
        else:
            yield


def set_tf32(allowed: bool) -> None:
    """Whether CUDA devices may round the factors of float32 products and convolutions to 10 bits, in this process.

    PyTorch allows it for convolutions unless told otherwise, and forbids it for matrix products.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
