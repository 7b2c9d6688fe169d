"""Standard streams: closed ones lead nowhere, and output that cannot be written ends a command in one line."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""Python's names of the descriptors 0, 1 and 2."""
OF_A_STREAM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
"""What writing to a full disk, a terminal that is gone or a pipe without a reader answers."""


def open_streams() -> None:
    """Lead closed standard streams to the null device.

    Otherwise the next file that is opened, such as a checkpoint, would take the number of a closed one, and what
    libraries and worker processes say would be written into it.
    """
    for number, (name, mode) in enumerate(STREAMS):
        try:
            os.fstat(number)
        except OSError:
            lead_nowhere(number)
        if getattr(sys, name) is None:
            # Not closed with the object: the number must stay taken.
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def lead_nowhere(number: int) -> None:
    """Make a descriptor that of the null device, for worker processes too."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)


def failure_of_output(error: OSError) -> OSError | None:
    """Why standard output cannot be written, if this error says so; what it still held is then given up."""
    failure = None
    try:
        sys.stdout.flush()
        # Python's -u holds nothing back, so that nothing is left to fail; an error of a file mostly names it.
        if getattr(sys.stdout, "write_through", False) and error.filename is None and error.errno in OF_A_STREAM:
            failure = error
    except OSError as again:
        failure = again
    if failure is not None:
        # At exit Python would try once more, and fail with a message of its own.
        with suppress(OSError, ValueError):
            lead_nowhere(sys.stdout.fileno())
    return failure


def complain(text: str) -> None:
    """Say a mistake on standard error; one that cannot be written leaves the exit code to tell of it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        with suppress(OSError, ValueError):
            lead_nowhere(sys.stderr.fileno())
