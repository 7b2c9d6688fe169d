"""Finding run folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splitmix.errors import UserError
from splitmix.federation.results_file import read_results
from splitmix.reading import read_yaml

OUTPUTS = Path("outputs")


def find_run(key: str, value: str) -> Path:
    """The run folder that `key=value` means: a folder, or `latest`, the newest one that holds a checkpoint.

    Raises:
        UserError: no such folder, or not one of a run.
    """
    if value == "latest":
        runs = runs_by_age()
        if not runs:
            raise UserError(
                f"{key}=latest: no run with a checkpoint under {OUTPUTS.resolve()}; splitmix train makes one"
            )
        return runs[-1]
    folder = Path(value)
    for needed in ("config.yaml", "results.json", "checkpoints/last.ckpt"):
        if not (folder / needed).is_file():
            raise UserError(f"{key}={value}: not a run folder, {folder / needed} is missing; give a folder or latest")
    return folder


def matching(key: str, text: str, path: Path) -> list[Path]:
    """A folder, or what a pattern matches; UserError, naming `key=text`, for one that is no pattern."""
    root, relative = (Path("/"), str(path).lstrip("/")) if path.is_absolute() else (Path(), str(path))
    try:
        return [path] if path.is_dir() else sorted(root.glob(relative))
    except (ValueError, NotImplementedError, IndexError) as error:
        raise UserError(f"{key}={text}: no valid pattern ({error})") from None


def find_runs(key: str, value: Any) -> list[Path]:
    """The run folders that `key=value` means: as `find_run`, or those that patterns match or folders of runs hold.

    Args:
        value: one text, or a list of them.

    Raises:
        UserError: a text that means no run.
    """
    texts = [str(text) for text in (value if isinstance(value, list) else [value])]
    if not texts:
        raise UserError(f"{key}=[]: give a run folder, a pattern, or latest")
    found: list[Path] = []
    for text in texts:
        folder = Path(text)
        if text == "latest" or (folder / "results.json").is_file():
            found.append(find_run(key, text))
            continue
        checkpoints = {file for match in matching(key, text, folder) for file in match.glob("**/checkpoints/last.ckpt")}
        runs = sorted({file.parents[1] for file in checkpoints})
        if not runs and set("*?[") & set(text):
            raise UserError(f"{key}={text}: matches no run; give run folders, folders of runs, patterns, or latest")
        # Where there is none, the message is that of a single folder.
        found += runs or [find_run(key, text)]
    return list(dict.fromkeys(found))


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a run folder to this process while it trains; the claim ends with the process, however that ends.

    Raises:
        UserError: another process trains there, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    try:
        file = os.open(folder / ".claim", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; choose another folder") from error
    try:
        try:
            # Of this process alone: workers that it forks do not hold it on.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # A file system without locks leaves the folder unguarded.
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(f"{folder}: another process is training this run; wait for it, or stop it") from None
        yield
    finally:
        os.close(file)


def runs_by_age() -> list[Path]:
    """Run folders under outputs/, the newest last."""
    checkpoints = sorted(OUTPUTS.glob("**/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    folders = [path.parents[1] for path in checkpoints]
    return [folder for folder in folders if all((folder / name).is_file() for name in ("config.yaml", "results.json"))]


def unfinished_run(config_hash: str) -> Path | None:
    """The newest unfinished run of this config, if any."""
    for folder in reversed(runs_by_age()):
        try:
            results = read_results(folder / "results.json")
        except UserError:
            continue
        if results.get("config_hash") == config_hash and results["status"] != "finished":
            return folder
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run; UserError if it cannot be read."""
    path = folder / "config.yaml"
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is no config of a run")
    return values
