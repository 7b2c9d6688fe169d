"""One table of a report in every form it is needed: text for the terminal, CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup
from rich.table import Table as TextTable

from splitmix.reporting.escape import one_line, stem
from splitmix.reporting.rendering import render
from splitmix.reporting.tables import text_table

LONG_WORDS = 32
"""Letters from which on a column of words is set in lines of this many, so that the numbers keep their place."""


@dataclass(frozen=True)
class Entry:
    """One place of a table; `best` is shown in bold, `aside` (a paper's number, a difference) in grey or small."""

    text: str
    best: bool = False
    aside: bool = False


@dataclass(frozen=True)
class Table:
    """A table of ready text, and the numbers behind it.

    Attributes:
        name: stem of its files.
        caption: what it shows, with units.
        header, rows: entries; a plain word is an ordinary entry.
        numbers: the lines of the CSV file, a frame or mappings; accuracies in [0, 1].
        words: how many leading columns are words, not numbers.
        notes: what a reader must know beside it.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Entry | str]]
    numbers: pd.DataFrame | Sequence[Mapping[str, Any]]
    words: int = 1
    notes: Sequence[str] = ()

    def entries(self) -> list[list[Entry]]:
        """Rows of entries; an empty one has no marks."""
        rows = [[entry if isinstance(entry, Entry) else Entry(entry) for entry in row] for row in self.rows]
        return [[entry if entry.text else Entry("") for entry in row] for row in rows]

    def texts(self) -> list[list[str]]:
        """Header and rows."""
        return [list(self.header), *([entry.text for entry in row] for row in self.entries())]

    def text(self) -> TextTable:
        """For the terminal."""
        return text_table([list(map(one_line, row)) for row in self.texts()], one_line(self.caption), self.words)

    def letters(self) -> list[int]:
        """The most letters of each column."""
        return [max(map(len, column)) for column in zip(*self.texts(), strict=True)]

    def csv(self) -> str:
        """The numbers, with every column that a line has; an unknown one stays empty."""
        # pyarrow's text, which pandas takes where that is installed, refuses halves of characters in a name.
        with pd.option_context("mode.string_storage", "python"):
            frame = pd.DataFrame(self.numbers)
        text: str = frame.to_csv(
            index=False, lineterminator="\n", float_format=lambda value: f"{value:.6f}".rstrip("0").rstrip(".")
        )
        return text

    def markdown(self) -> Markup:
        """As a Markdown table with its caption and notes; the best are bold."""
        return render("table.md", table=self)

    def latex(self) -> Markup:
        """As a LaTeX table (package booktabs); the best are bold, the paper's numbers small."""
        wide = Markup(f"p{{{LONG_WORDS / 2:g}em}}")
        words = [wide if letters > LONG_WORDS else "l" for letters in self.letters()[: self.words]]
        columns = Markup("").join([*words, *"r" * (len(self.header) - self.words)])
        return render("table.tex", table=self, columns=columns, label=Markup(stem(self.name)))

    def caption_with_notes(self) -> str:
        """The caption, and each note as a sentence of it."""
        notes = [f"{note[:1].upper()}{note[1:].removesuffix('.')}." for note in self.notes]
        return " ".join([self.caption, *notes])

    def html(self) -> Markup:
        """As an HTML table without its caption and notes, which need more room than a narrow table gives."""
        return render("table.html", table=self)


def spread(cells: pd.DataFrame, down: Sequence[str], across: str, columns: Sequence[Any]) -> list[list[Entry | str]]:
    """A row for each combination of `down`, and in it the `text` at each of `columns`; empty where there is none."""
    rows: list[list[Entry | str]] = []
    for words, part in cells.groupby(list(down), observed=True):
        texts = dict(zip(part[across], part["text"], strict=True))
        rows.append([*map(str, words), *(texts.get(column, "") for column in columns)])
    return rows


def width_names(widths: Sequence[float]) -> list[str]:
    """Widths as the header of a table."""
    return [f"×{width:g}" for width in widths]
