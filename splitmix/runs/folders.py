"""Run folders: finding them, keeping one to this process, reading its config."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from splitmix.binding import with_current_targets
from splitmix.config_hash import config_hash, former_hash
from splitmix.errors import UserError
from splitmix.files import refuse_links, remove_temporary
from splitmix.locks import CLAIM, Busy, locked
from splitmix.quoting import command
from splitmix.reading import read_yaml
from splitmix.runs.results_file import read_results
from splitmix.runs.search import find_files, is_pattern

OUTPUTS = Path("outputs")
RECORDS = ("config.yaml", "results.json")
"""What says of a run all but the model."""
NEEDED = (*RECORDS, "checkpoints/last.ckpt")
"""What a run folder has from the moment that its training begins."""
WRITTEN = (*NEEDED, "checkpoints/best.ckpt", "metrics.csv")
"""What training writes, and would overwrite."""
CLAIM_WAIT_S = 1.0
"""A process that only looks whether a folder is claimed may be in the way for a moment."""


def check_checkpoint(name: str, key: str = "checkpoint") -> None:
    """Raise UserError unless it is `best`, `last`, or the number of a round."""
    if name not in ("best", "last") and not name.isdecimal():
        raise UserError(f"{key}={name}: choose best, last, or a round that checkpoint_rounds kept, such as 10")


def checkpoint_path(folder: Path, name: str, key: str = "checkpoint") -> Path:
    """The file of a run's checkpoint: `best`, `last`, or that of a round; UserError if there is none."""
    check_checkpoint(name, key)
    path = folder / "checkpoints" / f"{f'round_{name}' if name.isdecimal() else name}.ckpt"
    if not path.is_file():
        kept = f", or train with checkpoint_rounds=[{name}]" if name.isdecimal() else ""
        raise UserError(f"{key}={name}: {path} does not exist; train further or choose {key}=last{kept}")
    return path


def find_run(key: str, value: str, needed: Sequence[str] = NEEDED) -> Path:
    """The run folder that `key=value` means: a folder, or `latest`, the newest one that holds a checkpoint.

    Args:
        needed: the files that a named folder must hold.

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
    if not value:
        raise UserError(f"{key}= is empty: give a run folder, or latest")
    folder = Path(value)
    for name in needed:
        if not os.path.isfile(folder / name):
            raise UserError(f"{key}={value}: not a run folder, {folder / name} is missing; give a folder or latest")
    return folder


def find_runs(key: str, value: Any, everything: bool = False) -> list[Path]:
    """The run folders that `key=value` means: as `find_run`, or those that patterns match or folders of runs hold.

    Args:
        value: one text, or a list of them.
        everything: a search may also end in several runs outside the outputs folder.

    Raises:
        UserError: a text that means no run, or that searches too much.
    """
    texts = [str(text) for text in (value if isinstance(value, list) else [value])]
    if not texts:
        raise UserError(f"{key}=[]: give a run folder, a pattern, or latest")
    runs: list[Path] = []
    for text in texts:
        folder = Path(text)
        if text in ("", "latest") or os.path.isfile(folder / "results.json"):
            runs.append(find_run(key, text))
            continue
        matches = [file.parents[1] for file in find_files(key, text, folder, NEEDED[-1])]
        if not matches and is_pattern(text):
            raise UserError(f"{key}={text}: matches no run; give run folders, folders of runs, patterns, or latest")
        outside = [match for match in matches if not match.resolve().is_relative_to(OUTPUTS.resolve())]
        if outside and len(matches) > 1 and not everything:
            raise UserError(
                f"{key}={text}: reaches {len(matches)} runs, not all of them under {OUTPUTS.resolve()} (such as"
                f" {outside[0]}); all=true means them all"
            )
        # Where there is none, the message is that of a single folder.
        runs += matches or [find_run(key, text)]
    return list(dict.fromkeys(runs))


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a run folder to this process while it trains; the claim ends with the process, however that ends.

    What killed processes left half written there is removed.

    Raises:
        UserError: another process trains there, the folder cannot be written, or it holds symbolic links.
    """
    refuse_links(folder)
    try:
        with locked(folder / CLAIM, CLAIM_WAIT_S):
            remove_temporary(folder)
            yield
    except Busy:
        raise UserError(f"{folder}: another process is training this run; wait for it, or stop it") from None


def refuse_run_in(folder: Path) -> None:
    """Refuse to train anew in a folder where that would cost files.

    Raises:
        UserError: the folder holds a run or a part of one, or symbolic links.
    """
    there = [name for name in WRITTEN if os.path.isfile(folder / name)]
    if any(name not in there for name in NEEDED):
        if there:
            raise UserError(f"hydra.run.dir={folder}: training would overwrite {there[0]} there; choose another folder")
        refuse_links(folder)
        return
    status = None
    with suppress(UserError):
        status = read_results(folder / "results.json")["status"]
    if status == "finished":
        raise UserError(f"hydra.run.dir={folder}: holds a finished run; choose another folder")
    raise UserError(
        f"hydra.run.dir={folder}: holds an unfinished run; go on with it by {command('train', resume=folder)}, or"
        " choose another folder"
    )


def runs_by_age() -> list[Path]:
    """Run folders under outputs/, the newest last."""
    ages: dict[Path, float] = {}
    for file in find_files("run", "latest", OUTPUTS, NEEDED[-1]):
        folder = file.parents[1]
        with suppress(OSError):
            if all((folder / name).is_file() for name in NEEDED):
                ages[folder] = file.stat().st_mtime
    return sorted(ages, key=lambda folder: ages[folder])


def unfinished_run(resolved: Mapping[str, Any]) -> Path | None:
    """The newest unfinished run of this config, if any; an earlier version may have made it."""
    digest, former = config_hash(resolved), former_hash(resolved)
    for folder in reversed(runs_by_age()):
        try:
            results = read_results(folder / "results.json")
            stored = results.get("config_hash")
            if results["status"] == "finished" or stored not in (digest, former):
                continue
            config = read_config(folder)
        except UserError:
            continue
        # The hash of earlier versions is that of several configs. A config that was changed is refused on resuming.
        if config_hash(config) == digest or former_hash(config) != stored:
            return folder
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run, its classes by today's names; UserError if it cannot be read."""
    path = folder / "config.yaml"
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is no config of a run")
    return with_current_targets(values)
