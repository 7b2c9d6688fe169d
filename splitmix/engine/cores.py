"""How many CPU cores this process may use: what it is bound to, and what its control groups grant."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process is bound to, or the quota of a control group (a container's) if that is less.

    A quota of one and a half cores counts as two.

    Args:
        root: where /proc and /sys lie.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(quota) for quota in quotas(root))]))


def quotas(root: Path) -> Iterator[float]:
    """Cores granted by the control groups that this process is in, version 1 or 2, and by those around them."""
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        # In a container the group may be mounted as the root: folders that are not there are passed over.
        group = Path(path.lstrip("/"))
        for folder in [mount / group, *(mount / parent for parent in group.parents)]:
            with suppress(OSError, ValueError, ZeroDivisionError):
                if controllers:
                    quota = (folder / "cpu.cfs_quota_us").read_text()
                    period = (folder / "cpu.cfs_period_us").read_text()
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if quota.strip() != "max" and int(quota) > 0:
                    yield int(quota) / int(period)
