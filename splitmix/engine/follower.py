"""What runs in every rank but rank zero: it takes its share of the work, and writes nothing."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from splitmix.engine.before_torch import PORTABLE, portable_environment
from splitmix.engine.parent import end_with_parent
from splitmix.engine.rank_places import RankPlace, rank_place
from splitmix.engine.rank_start import end, start_local
from splitmix.errors import UserError


def run() -> NoReturn:
    """Follow rank zero, then end this process at once: a rank writes nothing that Python's own end would have to close.

    PyTorch's threads and those of gloo may still be ending then, and abort a process whose interpreter is gone.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> int:
    """Follow rank zero to its end; returns the exit code, 1 after rank zero has died."""
    place = rank_place()
    assert place is not None and place.rank > 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank zero hears it, and says what to do
    if place.ours:
        end_with_parent(f"rank {place.rank}: the run's first process is gone; this rank ends too")
    import torch.distributed as dist

    # Nothing here waits in another thread: SIGINT is ignored, and a thread that has trained may still be clearing up
    # when the process ends.
    children: list[subprocess.Popen[bytes]] = []
    try:
        rank, children = joined(place)
        if rank is None:
            return 0
        follow(rank)
        return 0
    except RuntimeError:  # the connection is broken
        number = place.rank if place.by != "user" else f"of machine {place.rank}"
        print(f"splitmix: rank {number}: rank zero is gone; this rank ends too", file=sys.stderr, flush=True)
        return 1
    except UserError as error:
        print(f"splitmix: rank {place.rank}: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(5)
        end(children)
        with suppress(Exception):
            dist.destroy_process_group()


def joined(place: RankPlace) -> tuple[int | None, list[subprocess.Popen[bytes]]]:
    """Meet the others; this process's rank, or None if there is nothing to do, and the ranks that it has started.

    Raises:
        UserError: rank zero did not come.
        RuntimeError: it came and went.
    """
    from splitmix.engine.rank_wire import ENDED, MEET_S, RANKS, first_line, join, store_of

    store = store_of(place)
    try:
        text = store.get(RANKS).decode()
    except RuntimeError as error:
        raise UserError(f"rank zero did not begin within {MEET_S:g} s ({first_line(error)})") from error
    if text == ENDED:
        store.add(ENDED, 1)
        return None, []
    settings: dict[str, Any] = json.loads(text)
    if settings["portable"] and not portable_environment():
        os.environ.update(PORTABLE)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    devices, machines = settings["devices"], settings["num_nodes"]
    rank, children = place.rank, []
    if place.by == "user":
        rank = place.rank * devices
        children = start_local(RankPlace("user", rank, store=place.store), devices, machines)
    local = machines == 1 and not place.external
    join(store, rank, devices * machines, local)
    return rank, children


def follow(rank: int) -> None:
    """Do what rank zero asks for, until it says that all is done."""
    from splitmix.engine.rank_wire import broadcast, bytes_from, encoded, send_to
    from splitmix.engine.shares import Follower

    follower = Follower(rank)
    while True:
        number, kind, common = pickle.loads(broadcast())
        if kind == "end":
            follower.close()
            return
        rank_task = pickle.loads(bytes_from(0))
        try:
            answer = number, "done", follower.answer(kind, common, rank_task)
        except UserError as error:
            answer = number, "mistake", str(error)
        except Exception:
            answer = number, "bug", traceback.format_exc()
        send_to(0, encoded(answer))
