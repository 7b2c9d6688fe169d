"""Trains packs one after another in this process, on its device, in smaller ones from where the memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from splitmix.engine.lane_starts import Fetch
from splitmix.engine.lane_trainer import LaneTrainer, PackResult
from splitmix.engine.packing import Pack
from splitmix.engine.server_rows import ServerRows
from splitmix.errors import UserError


def trained_here(
    trainer: LaneTrainer,
    packs: Sequence[Pack],
    lr: float,
    fetch: Fetch,
    tuned: dict[str, int],
    rows: ServerRows | None = None,
) -> Generator[tuple[Pack, PackResult]]:
    """Train packs; yields each, or the smaller ones in its place, with what came of it, on the CPU.

    Args:
        fetch: gives what clients download.
        tuned: lanes by network; a smaller number is noted there when memory runs out.
        rows: adds up the trained lanes on the device, so that they do not come back.

    Raises:
        UserError: too little memory for a single model.
    """
    left = deque(packs)
    while left:
        pack = left.popleft()
        try:
            result = trainer.train(pack, lr, fetch, rows)
            if rows is not None:
                rows.add(pack, result.tensors)
                result = replace(result, tensors={})
        except torch.OutOfMemoryError:
            result = None
        if result is None:  # outside the handler, whose exception keeps the failed step's memory
            left.extendleft(reversed(smaller(trainer, pack, tuned)))
            continue
        yield pack, result.on_cpu(pack)


def smaller(trainer: LaneTrainer, pack: Pack, tuned: dict[str, int]) -> tuple[Pack, ...]:
    """What to try instead of a pack that did not fit: the same again without idle lanes in memory, then halves."""
    idle = trainer.cache.drop_idle(pack.spec, len(pack.lanes))
    if not idle:
        trainer.cache.clear()
    torch.cuda.empty_cache()
    if idle:
        return (pack,)
    if len(pack.lanes) == 1:
        raise UserError("too little memory for a single model: lower batch_size or set engine.accelerator=cpu")
    tuned[pack.spec.label] = len(pack.lanes) // 2
    return pack.halves()
