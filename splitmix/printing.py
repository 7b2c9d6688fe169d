"""Text of others, made harmless for a terminal."""

from __future__ import annotations

import logging
import re

# Controls but tab and new line, marks that turn the direction of writing, other line ends, halves of characters.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with characters that would steer a terminal written out, such as `\x1b`."""
    return UNPRINTABLE.sub(lambda match: written_out(match[0]), text)


def excerpt(text: object, longest: int = 200) -> str:
    """Names and values of others as a part of a message: in one line, without the middle of what is long.

    Args:
        longest: letters from which on the middle is left out.
    """
    safe = "".join(letter if letter.isprintable() else written_out(letter) for letter in str(text))
    return safe if len(safe) <= longest else f"{safe[: longest // 2]}…{safe[-longest // 2 :]}"


def written_out(letter: str) -> str:
    """A letter by its number, as Python's text would have it."""
    return letter.encode("unicode_escape").decode()


class PrintableFormatter(logging.Formatter):
    """Messages of a log with such characters written out."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
