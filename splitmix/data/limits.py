"""How much a file that others made may unpack to: one table, each limit raised by an environment variable."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from splitmix.errors import UserError

GIB = 2**30


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        variable: environment variable that replaces the default.
        default: in units of `unit`.
        unit: name of the unit, for messages; empty for a plain number.
        scale: bytes or pixels of one unit.
    """

    variable: str
    default: float
    unit: str
    scale: float

    @property
    def value(self) -> float:
        """The limit in bytes, pixels or as a plain number (UserError: the variable is no number above 0)."""
        text = os.environ.get(self.variable) or str(self.default)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not number > 0:
            raise UserError(f"{self.variable}={text}: give a number above 0{self.unit and f' ({self.unit})'}")
        return number * self.scale

    def refusal(self, what: str) -> UserError:
        """The error that `what` (a file and what it wants) exceeds the limit."""
        limit = f"{self.value / self.scale:g} {self.unit}".strip()
        return UserError(f"{what}, the limit is {limit}; if you trust the file, raise the variable {self.variable}")


PICKLE = Limit("SPLITMIX_MAX_PICKLE_GIB", 4, "GiB", GIB)
"""Memory for the content of one pickle, checkpoint or array file. The largest part of the Digits takes 0.1 GiB."""
ARCHIVE = Limit("SPLITMIX_MAX_ARCHIVE_GIB", 64, "GiB", GIB)
"""All files of an archive, unpacked. DomainNet's largest archive takes 6 GiB."""
MEMBER = Limit("SPLITMIX_MAX_MEMBER_GIB", 8, "GiB", GIB)
"""One file of an archive, unpacked."""
RATIO = Limit("SPLITMIX_MAX_ARCHIVE_RATIO", 200, "", 1)
"""Unpacked size of an archive over its packed size; arrays of digits reach 10, what was made to fill a disk 1,000."""
RATIO_FROM = 64 * 2**20
"""Bytes up to which the ratio does not matter."""
PIXELS = Limit("SPLITMIX_MAX_IMAGE_MEGAPIXELS", 100, "megapixels", 1e6)
"""Width times height of an image before it is resized."""


def check_unpacked(archive: Path, packed: int, unpacked: int) -> None:
    """Refuse an archive that unpacks to more than the limits (UserError names the limit)."""
    if unpacked > ARCHIVE.value:
        raise ARCHIVE.refusal(f"archive={archive}: unpacks to more than {unpacked / GIB:.1f} GiB")
    if unpacked > RATIO_FROM and unpacked > RATIO.value * packed:
        raise RATIO.refusal(f"archive={archive}: unpacks to more than {unpacked / max(packed, 1):.0f} times its size")
