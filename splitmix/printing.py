"""Text from files, made harmless for a terminal."""

from __future__ import annotations

import logging
import re

# Controls but tab and new line, marks that turn the direction of writing, other line ends, halves of characters.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with characters that would steer a terminal written out, such as `\x1b`."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class PrintableFormatter(logging.Formatter):
    """Messages of a log with such characters written out."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
