"""Words of a run (names of data, domains, attacks, folders) made harmless for HTML, Markdown, LaTeX and file names."""

from __future__ import annotations

import html as standard_html
import re
import unicodedata

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "±": r"$\pm$",
    "×": r"$\times$", "\u2212": "$-$", "\u2013": "--", "\u2026": r"\ldots{}", "λ": r"$\lambda$", "ε": r"$\varepsilon$",
    "†": r"$^\dagger$", "≤": r"$\leq$", "∞": r"$\infty$", "[": "{[}", "*": "{*}",
}  # fmt: skip
"""A star or a bracket at the start of a row would be read as belonging to the line break before it."""
MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w)")
LONGEST_STEM = 60


def one_line(text: str) -> str:
    """Text without line breaks, control characters and broken characters; a space or a replacement sign instead."""
    return "".join(_visible(letter) for letter in text)


def html(text: str) -> str:
    """Text inside an element or an attribute of a page."""
    return standard_html.escape(one_line(text))


def markdown(text: str) -> str:
    """Text inside a paragraph or a cell of GitHub's Markdown; an underscore inside a word is harmless."""
    return MARKDOWN.sub(lambda match: f"\\{match[0]}", one_line(text))


def latex(text: str) -> str:
    """Text with the characters that LaTeX reads as commands written out; those that its fonts lack, by number."""
    return "".join(LATEX.get(letter) or _latin(letter) for letter in one_line(text))


def stem(text: str) -> str:
    """Text as the stem of a file name: letters, digits, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:LONGEST_STEM] or "_"


def _visible(letter: str) -> str:
    # C: control characters, parts of surrogate pairs, places that stand for no character; Z: separators.
    kind = unicodedata.category(letter)
    if kind[0] == "Z" or letter in "\t\r\n":
        return " "
    return "\ufffd" if kind[0] == "C" else letter


def _latin(letter: str) -> str:
    if letter.isascii() or (letter <= "\u00ff" and letter.isalpha() and letter not in "ªºµ"):
        return letter
    return f"U+{ord(letter):04X}"
