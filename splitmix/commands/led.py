"""A verb that many ranks do together: rank zero runs the command, the others follow it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from splitmix.commands.streams import complain
from splitmix.engine.rank_places import follows, rank_place
from splitmix.errors import UserError


def led(verb: str, run: Callable[[], int]) -> int:
    """Run a verb, or follow the process that does; returns the exit code."""
    try:
        if follows():
            from splitmix.engine.follower import run as follow

            follow()
    except UserError as error:
        complain(f"splitmix {verb}: {error}")
        return 2
    try:
        return run()
    finally:
        # A run of one rank has not imported this, and need not.
        if "splitmix.engine.ranks" in sys.modules or rank_place() is not None:
            from splitmix.engine.ranks import close_ranks, dismiss

            dismiss()
            close_ranks()
