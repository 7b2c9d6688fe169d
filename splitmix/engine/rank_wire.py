"""How the ranks of a run meet, and send each other values: a store, then gloo; Ctrl-C is heard meanwhile."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from splitmix.engine.rank_places import RankPlace
from splitmix.engine.shared_memory import pickled
from splitmix.errors import UserError

MEET_S = 3600.0
"""How long ranks wait for rank zero, which may have to make a dataset first."""
JOIN_S = 300.0
"""How long they may take to connect to each other when it is ready."""
FOREVER = timedelta(days=30)
"""How long a rank waits for another's work. That a rank has died shows at once, by its connection."""
RANKS, ENDED = "splitmix/ranks", "splitmix/ended"
"""Keys of the store: what rank zero tells the others first, and how many have heard that there is nothing to do."""

Result = TypeVar("Result")


class Gone(Exception):
    """The connection to another rank is broken."""


def waiting(
    function: Callable[[], Result], check: Callable[[], None] = lambda: None, give_up_s: float | None = None
) -> Result:
    """Call what blocks in a thread, so that Ctrl-C is heard, and `check` is asked, meanwhile.

    Raises:
        Gone: it failed, or took longer than `give_up_s`.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    start, pause = monotonic(), 0.5
    while thread.is_alive():
        thread.join(pause)
        if thread.is_alive():
            check()
            if give_up_s is not None and monotonic() - start > give_up_s:
                raise Gone
    if errors:
        if isinstance(errors[0], RuntimeError):
            raise Gone from errors[0]
        raise errors[0]
    return results[0]


def store_of(place: RankPlace, leads: bool = False) -> dist.Store:
    """The place where the ranks meet, made by the one that leads.

    Raises:
        UserError: nobody is there.
    """
    host, colon, port = (slurm_store() if place.by == "SLURM" else place.store).rpartition(":")
    if not (colon and port.isdecimal()):
        return dist.FileStore(place.store, -1)
    # torchrun keeps the store of its processes itself, but for old versions of it.
    leads = leads and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True)
    try:
        return dist.TCPStore(
            host, int(port), is_master=leads, wait_for_workers=False, timeout=timedelta(seconds=MEET_S)
        )
    except RuntimeError as error:
        what = "cannot be opened" if leads else f"cannot be reached within {MEET_S:g} s"
        raise UserError(
            f"{host}:{port}, where the ranks of this run meet, {what} ({first_line(error)}); see MASTER_ADDR and"
            " MASTER_PORT"
        ) from error


def slurm_store() -> str:
    """Address of the first machine of a SLURM job, and a port made of the job's number."""
    from lightning_fabric.plugins.environments import SLURMEnvironment

    names = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    machines = next((os.environ[name] for name in names if os.environ.get(name)), "127.0.0.1")
    host = os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(machines)
    return f"{host}:{os.environ.get('MASTER_PORT') or 15000 + int(os.environ.get('SLURM_JOB_ID', '0')[-4:])}"


def join(store: dist.Store, rank: int, ranks: int, local: bool) -> None:
    """Connect to the other ranks; those of one machine over its loopback alone."""
    if dist.is_initialized():
        raise UserError("engine.devices: torch.distributed is in use in this process already; leave it to splitmix")
    if local and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store.set_timeout(timedelta(seconds=JOIN_S))
    dist.init_process_group("gloo", store=dist.PrefixStore("gloo", store), rank=rank, world_size=ranks, timeout=FOREVER)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


def encoded(value: Any) -> bytearray:
    return bytearray(pickled(value).data)


def broadcast(data: bytearray | None = None) -> bytearray:
    """Send bytes to all from rank zero, which gives them."""
    size = torch.tensor([0 if data is None else len(data)])
    dist.broadcast(size, 0)
    buffer = bytearray(int(size)) if data is None else data
    dist.broadcast(torch.frombuffer(buffer, dtype=torch.uint8), 0)
    return buffer


def send_to(rank: int, data: bytearray) -> None:
    dist.send(torch.tensor([len(data)]), rank)
    dist.send(torch.frombuffer(data, dtype=torch.uint8), rank)


def bytes_from(rank: int) -> bytearray:
    size = torch.tensor([0])
    dist.recv(size, rank)
    buffer = bytearray(int(size))
    dist.recv(torch.frombuffer(buffer, dtype=torch.uint8), rank)
    return buffer


def receive_from(rank: int) -> Any:
    """What the rank sent: a pickle, as worker processes are sent them."""
    return pickle.loads(bytes_from(rank))
