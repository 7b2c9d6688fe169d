"""Which processes run, as /proc says; a machine without an init process may keep the entry of one that has ended."""

from contextlib import suppress
from pathlib import Path


def fields(pid):
    """State, parent, process group and session of a process; OSError if there is none."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]


def running(pid):
    with suppress(OSError):
        return fields(pid)[0] != "Z"
    return False


def running_in(session):
    """The running processes of a session, by their numbers."""
    numbers = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, of_session = fields(path.name)
            if state != "Z" and int(of_session) == session:
                numbers.append(int(path.name))
    return numbers
