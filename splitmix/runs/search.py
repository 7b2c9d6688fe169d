"""Searching for run folders: bounded, through no symbolic link, and neither from / nor from the home folder down."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from splitmix.errors import UserError
from splitmix.files import SUB_FOLDERS

MOST_FOLDERS = 20_000
"""Folders that one search looks into."""
MAGIC = frozenset("*?[")


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards."""
    return not MAGIC.isdisjoint(text)


def find_files(key: str, text: str, path: Path, name: str) -> list[Path]:
    """The files called `name` in and below a folder, or in and below all folders that a pattern matches.

    A folder is searched whose name looks like a pattern. Hidden folders are passed over unless the pattern names them.

    Args:
        key, text: what the user gave, for messages.
        path: the folder or pattern.
        name: one or more parts, such as `checkpoints/last.ckpt`.

    Raises:
        UserError: too many folders, or a search from / or from above the home folder.
    """
    return sorted(set(Search(key, text).files(path, name)))


class Search:
    """One search, which counts the folders that it looks into."""

    def __init__(self, key: str, text: str):
        self.key, self.text = key, text
        self.count = 0

    def files(self, path: Path, name: str) -> Iterator[Path]:
        folders = [path] if os.path.isdir(path) else self.matches(path)
        for folder in folders:
            self.refuse_above_home(folder)
        for folder in folders:
            for below in self.below(folder):
                if os.path.isfile(below / name):
                    yield below / name

    def matches(self, pattern: Path) -> list[Path]:
        """The folders that a pattern matches."""
        parts = list(pattern.parts)
        if any("**" in part and part != "**" for part in parts):
            raise UserError(f"{self.key}={self.text}: no valid pattern: ** stands alone between two slashes")
        start = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts))
        return sorted(set(self.expand(Path(*parts[:start]), parts[start:])))

    def expand(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        """The folders below `folder` that these parts of a pattern match."""
        if not parts:
            if os.path.isdir(folder):
                yield folder
        elif parts[0] == "**":
            for below in self.below(folder):
                yield from self.expand(below, parts[1:])
        elif is_pattern(parts[0]):
            for child in self.children(folder):
                if fnmatchcase(child.name, parts[0]) and child.name.startswith(".") <= parts[0].startswith("."):
                    yield from self.expand(child, parts[1:])
        else:
            yield from self.expand(folder / parts[0], parts[1:])

    def below(self, folder: Path) -> Iterator[Path]:
        """A folder, and all below it but the hidden ones and those in run folders."""
        self.refuse_above_home(folder)
        todo = [folder]
        while todo:
            at = todo.pop()
            yield at
            todo += [child for child in self.children(at) if not child.name.startswith(".")]

    def refuse_above_home(self, folder: Path) -> None:
        if above_home(folder):
            raise UserError(
                f"{self.key}={self.text}: would search all of {folder.resolve()}; name a folder nearer to the runs"
            )

    def children(self, folder: Path) -> list[Path]:
        """The folders in a folder but those that a run keeps its own files in."""
        self.count += 1
        if self.count > MOST_FOLDERS:
            raise UserError(
                f"{self.key}={self.text}: more than {MOST_FOLDERS} folders to search; name a folder nearer to the runs"
            )
        with suppress(OSError), os.scandir(folder) as entries:
            return [
                folder / entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and entry.name not in SUB_FOLDERS
            ]
        return []


def above_home(folder: Path) -> bool:
    """Whether the home folder, or /, is this folder or lies in it."""
    place = folder.resolve()
    with suppress(RuntimeError):
        if Path.home().resolve().is_relative_to(place):
            return True
    return place == Path(place.anchor)
