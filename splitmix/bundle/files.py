"""What an export writes: beside its place and moved there whole, so that no folder or file is ever half there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitmix.errors import UserError
from splitmix.runtime.manifest import MANIFEST


def check_out(out: str | None, force: bool) -> Path:
    """The folder that the key `out` names; UserError if it is there and may not be replaced."""
    if out is None:
        raise UserError("out=null: give a folder (format=bundle) or a file to write")
    path = Path(out)
    if not path.absolute().parent.is_dir():
        raise UserError(f"out={out}: the folder {path.absolute().parent} does not exist")
    if not os.path.lexists(path):
        return path
    if not force:
        raise UserError(f"out={out}: exists; choose another name, or force=true to replace it")
    if path.is_symlink():
        raise UserError(f"out={out}: is a symbolic link, which splitmix does not write through: remove it")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise UserError(f"out={out}: is a folder that holds no bundle, so not even force=true replaces it; remove it")
    return path


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of `out` at the end; after an error nothing has changed.

    Raises:
        UserError: it cannot be written.
    """
    beside = out.absolute().with_name(f".{out.name}.{secrets.token_hex(4)}.{os.getpid()}.tmp")
    try:
        with writing(out):
            beside.mkdir()
            yield beside
            if out.is_dir():
                shutil.rmtree(out)
            os.replace(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A path beside `out` whose file takes its name at the end; after an error nothing has changed.

    Raises:
        UserError: it cannot be written.
    """
    beside = out.absolute().with_name(f".{secrets.token_hex(4)}.{os.getpid()}.tmp{out.suffix}")
    try:
        with writing(out):
            yield beside
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Tell what the system refuses while `out` is written as a mistake of the user's (UserError)."""
    try:
        yield
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error}); choose another place") from error
