"""Jobs of a sweep that run beside each other on one machine are spread over its GPUs."""

from __future__ import annotations

import os

from hydra.conf import HydraConf

VISIBLE = "CUDA_VISIBLE_DEVICES"
_spread: list[str] = []
"""The GPU of this process, once it has one."""


def keep_to_one_gpu(config: HydraConf) -> None:
    """Let this process, a worker of joblib's, see one GPU alone, if there are several; it keeps it for later jobs.

    The first jobs of a sweep begin in as many processes as run at once, so that the number of a process's first job
    says which GPU is its own. CUDA must not have been used in this process yet.

    Args:
        config: Hydra's own, of the job at hand.
    """
    if _spread or config.runtime.choices.get("hydra/launcher") != "joblib":
        return
    gpus = visible_gpus()
    if len(gpus) > 1:
        _spread.append(gpus[int(config.job.num) % len(gpus)])
        os.environ[VISIBLE] = _spread[0]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as the environment names them; CUDA is not started for it."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
