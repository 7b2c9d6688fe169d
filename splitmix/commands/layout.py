"""Lines of help for a terminal: two columns, wrapped between words."""

from __future__ import annotations

import shutil
import textwrap


def terminal_width() -> int:
    """Columns of the terminal, at most 120; 80 where there is none."""
    return max(40, min(120, shutil.get_terminal_size((80, 24)).columns))


def wrapped(text: str, indent: int = 0, hanging: int | None = None) -> str:
    """A paragraph, broken between words only.

    Args:
        indent: blanks before the first line.
        hanging: blanks before the others; as many as before the first if None.
    """
    return textwrap.fill(
        text,
        terminal_width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if hanging is None else hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def entry(left: str, what: str, column: int) -> str:
    """A name and what it means, which begins at a column; on a line of its own where the name is longer."""
    meaning = wrapped(what, column)
    if len(left) + 2 > column:
        return f"{left}\n{meaning}"
    return left.ljust(column) + meaning[column:]
