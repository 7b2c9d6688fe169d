"""One table in every form it is needed: text for the terminal, CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as TextTable

from splitmix.reporting.escape import html, latex, markdown, one_line
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
        records: the numbers, one mapping per line of the CSV file; accuracies in [0, 1].
        words: how many leading columns are words, not numbers.
        notes: what a reader must know beside it.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Entry | str]]
    records: Sequence[Mapping[str, Any]]
    words: int = 1
    notes: Sequence[str] = ()

    def entries(self) -> list[list[Entry]]:
        """Rows of entries."""
        return [[entry if isinstance(entry, Entry) else Entry(entry) for entry in row] for row in self.rows]

    def text(self) -> TextTable:
        """For the terminal."""
        rows = [self.header, *([entry.text for entry in row] for row in self.entries())]
        return text_table([list(map(one_line, row)) for row in rows], one_line(self.caption), self.words)

    def letters(self) -> list[int]:
        """The most letters of each column."""
        rows = [self.header, *([entry.text for entry in row] for row in self.entries())]
        return [max(map(len, column)) for column in zip(*rows, strict=True)]

    def csv(self) -> str:
        """The numbers, with every column that a record has; an unknown one stays empty."""
        columns = list(dict.fromkeys(key for record in self.records for key in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _number(value) for key, value in record.items()} for record in self.records)
        return text.getvalue()

    def markdown(self) -> str:
        """As a Markdown table with its caption and notes; the best are bold."""

        def line(words: Sequence[str]) -> str:
            return f"| {' | '.join(words)} |"

        def word(entry: Entry) -> str:
            mark = "" if not entry.text else "**" if entry.best else "*" if entry.aside else ""
            return f"{mark}{markdown(entry.text)}{mark}"

        rules = ["---" if number < self.words else "---:" for number in range(len(self.header))]
        lines = [markdown(self.caption), "", line([*map(markdown, self.header)]), line(rules)]
        lines += [line([*map(word, row)]) for row in self.entries()]
        return "\n".join([*lines, *([""] if self.notes else []), *(f"- {markdown(n)}" for n in self.notes)]) + "\n"

    def latex(self) -> str:
        """As a LaTeX table (package booktabs); the best are bold, the paper's numbers small."""

        def word(entry: Entry) -> str:
            text = latex(entry.text)
            return (
                rf"\textbf{{{text}}}"
                if entry.best
                else rf"\footnotesize\emph{{{text}}}"
                if entry.aside and text
                else text
            )

        wide = [letters > LONG_WORDS for letters in self.letters()]
        columns = "".join(
            (rf"p{{{LONG_WORDS / 2:g}em}}" if wide[number] else "l") if number < self.words else "r"
            for number in range(len(self.header))
        )
        lines = [
            "% Needs \\usepackage{booktabs}.",
            r"\begin{table}",
            r"  \centering\small",
            r"  \setlength{\tabcolsep}{4pt}",
        ]
        lines += [
            rf"  \caption{{{latex(' '.join([self.caption, *map(sentence, self.notes)]))}}}",
            rf"  \label{{tab:{self.name}}}",
        ]
        lines += [rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
        lines += [f"    {' & '.join(map(latex, self.header))} \\\\", r"    \midrule"]
        lines += [f"    {' & '.join(map(word, row))} \\\\" for row in self.entries()]
        return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"

    def html(self) -> str:
        """As an HTML table without its caption and notes, which need more room than a narrow table gives."""

        def cell(tag: str, entry: Entry, number: int) -> str:
            kinds = [*(["word"] if number < self.words else []), *(["best"] if entry.best else [])]
            kinds += ["aside"] if entry.aside else []
            attribute = f' class="{" ".join(kinds)}"' if kinds else ""
            return f"<{tag}{attribute}>{html(entry.text)}</{tag}>"

        head = "".join(cell("th", Entry(name), number) for number, name in enumerate(self.header))
        body = "".join(
            f"<tr>{''.join(cell('td', entry, number) for number, entry in enumerate(row))}</tr>\n"
            for row in self.entries()
        )
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>\n"


def sentence(note: str) -> str:
    """A note as a sentence of a caption."""
    return f"{note[:1].upper()}{note[1:].removesuffix('.')}."


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6f}".rstrip("0").rstrip(".")
    return "" if value is None else value
