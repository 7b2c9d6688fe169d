"""The most memory that this process had, or PyTorch on a GPU, since a moment."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures from the moment on that it is made, where the system can do that; else from the start of the process.

    Args:
        device_type: cpu, cuda or mps.
    """

    def __init__(self, device_type: str):
        self.device_type = device_type
        if device_type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            with suppress(OSError):
                RESET.write_text("5")

    def peak(self) -> int | None:
        """Bytes; None where the system does not say."""
        if self.device_type == "cuda":
            return torch.cuda.max_memory_reserved()
        with suppress(OSError):
            if match := re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE):
                return int(match[1]) * 1024
        try:
            import resource
        except ImportError:  # where there is no such thing, as on Windows
            return None
        most: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
