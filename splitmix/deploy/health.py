"""Checks of a node or a server of a fleet: each is one line, well or with what to mend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from splitmix.errors import UserError


@dataclass(frozen=True)
class Checked:
    """What came of a check.

    Attributes:
        what: was checked.
        ok: all is well.
        text: what was found, or what is wrong and how to mend it.
    """

    what: str
    ok: bool
    text: str


def checked(what: str, check: Callable[[], str]) -> Checked:
    """Run a check, which tells what it found, or raises UserError with what is wrong and how to mend it."""
    try:
        return Checked(what, True, check())
    except UserError as error:
        return Checked(what, False, str(error))
    except OSError as error:
        return Checked(what, False, f"{error.filename or 'a file'}: {error.strerror or error}; restore it")
