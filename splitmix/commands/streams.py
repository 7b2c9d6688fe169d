"""Standard streams: closed ones lead nowhere, and output that cannot be written ends a command in one line."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from io import TextIOWrapper, UnsupportedOperation

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""Python's names of the descriptors 0, 1 and 2."""
OF_A_STREAM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
"""What writing to a full disk, a terminal that is gone or a pipe without a reader answers."""


def open_streams() -> None:
    """Lead closed standard streams to the null device; none fails for its encoding.

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
        stream = getattr(sys, name)
        if mode == "w" and isinstance(stream, TextIOWrapper):
            # A character that the terminal's encoding lacks, such as those of our own texts, is written out.
            stream.reconfigure(errors="backslashreplace")


def lead_nowhere(number: int) -> None:
    """Make a descriptor that of the null device, for worker processes too."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)


class OutputError(OSError):
    """Standard output cannot be written."""


def failure_of_output(error: OSError) -> OutputError | None:
    """Why standard output cannot be written, if it was this error that said so; from then on it leads nowhere."""
    if isinstance(error, OutputError):
        return error
    if error.filename is not None or error.errno not in OF_A_STREAM:
        return None
    try:
        sys.stdout.flush()
        # What could not be written may be given up already; another file's failure leaves an empty line here.
        os.write(sys.stdout.fileno(), b"\n")
    except UnsupportedOperation:  # it is no file
        return None
    except OSError as failure:
        # At exit Python would try once more, and fail with a message of its own.
        lead_nowhere(sys.stdout.fileno())
        return OutputError(failure.errno, failure.strerror)
    return None


def complain(text: str) -> None:
    """Say a mistake on standard error; one that cannot be written leaves the exit code to tell of it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        with suppress(OSError, ValueError):
            lead_nowhere(sys.stderr.fileno())
