"""The jobs of a training sweep: checked, each with a folder that its config decides, so that a sweep can go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from splitmix.commands.composing import MISTAKES
from splitmix.commands.help import groups, without_hydra
from splitmix.commands.messages import log, one_line
from splitmix.commands.sweep import Job
from splitmix.config import load_run_config, resolve_run
from splitmix.config_hash import NOT_HASHED, config_hash, former_hash
from splitmix.engine.before_torch import prepare
from splitmix.errors import UserError
from splitmix.files import refuse_links
from splitmix.quoting import hydra_word
from splitmix.runs.folders import NEEDED, read_config
from splitmix.runs.results_file import read_results

SLUG = 100
"""Longest readable part of a folder's name; file systems allow 255 bytes."""


def plan_runs(points: list[tuple[list[str], Callable[[], DictConfig]]]) -> list[Job]:
    """The jobs of a grid: those with a finished run are skipped, those with a mistake are told before any work.

    Args:
        points: by job its overrides, and its composed config on demand.
    """
    jobs: list[Job] = []
    seen: set[str] = set()
    for overrides, compose in points:
        try:
            config = compose()
            sweep_dir = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
            resolved = resolve_run(without_hydra(config))
            check(resolved)
            digest = config_hash(resolved)
            name = slug(overrides, resolved["seed"])
            folder = former_folder(sweep_dir, name, resolved) or folder_of(sweep_dir, f"{name}_{digest[:8]}")
            finished = status(folder) == "finished"
            if not finished:
                refuse_links(folder)
        except MISTAKES as error:
            jobs.append(Job(tuple(overrides), slug(overrides), mistake=one_line(error, "train")))
            continue
        skip = None
        if digest in seen:
            skip = "twice in this sweep"
        elif finished:
            skip = "finished already"
        seen.add(digest)
        jobs.append(Job((*overrides, hydra_word("hydra.sweep.subdir", folder.name)), str(folder), skip))
    return jobs


def check(resolved: dict[str, object]) -> None:
    """Find every mistake that needs no training; UserError for the first."""
    prepare(resolved.get("engine"))
    config = load_run_config(resolved)
    from splitmix.federation.build import build_federation

    # What a private run guarantees is computed by a package that may be missing.
    build_federation(config, say=log.info).merging.guarantee(config.scalars.rounds)


def folder_of(sweep_dir: Path, name: str) -> Path:
    """The folder of a job: one that is there already with the same hash, whatever its readable part, else a new one."""
    named = sweep_dir / name
    if named.is_dir():
        return named
    same = sorted(path for path in sweep_dir.glob(f"*_{name.rpartition('_')[2]}") if path.is_dir())
    return same[0] if same else named


def former_folder(sweep_dir: Path, name: str, resolved: dict[str, Any]) -> Path | None:
    """The folder that an earlier version made for this very config, under the hash of that version; None if none is."""
    digest = former_hash(resolved)
    if digest == config_hash(resolved):
        return None
    folder = folder_of(sweep_dir, f"{name}_{digest[:8]}")
    try:
        return folder if config_hash(read_config(folder)) == config_hash(resolved) else None
    except UserError:
        return None


def status(folder: Path) -> str | None:
    """The status of the run in a folder; None if there is none yet.

    Raises:
        UserError: its results.json cannot be read, so that training there could cost a run.
    """
    path = folder / "results.json"
    return str(read_results(path)["status"]) if path.exists() else None


def can_go_on(folder: Path) -> bool:
    """Whether a folder holds a run that stopped after it had begun."""
    return status(folder) is not None and all((folder / name).is_file() for name in NEEDED)


def slug(overrides: list[str], seed: object = None) -> str:
    """What is special about a job in letters, digits, dots, dashes and underscores: `fedavg_width-0.25_seed-1`.

    Args:
        overrides: words of the job; those that cannot change the numbers, and the experiment, are left out.
        seed: named last, since runs of one kind then stand together.
    """
    names = groups()
    parts = []
    for word in overrides:
        key, equals, value = word.lstrip("+").partition("=")
        top = key.split(".")[0].split("@")[0]
        if not equals or top in (*NOT_HASHED, "experiment", "debug", "seed"):
            continue
        value = value.lower() if value in ("True", "False", "None") else value
        parts.append(value if key in names else f"{key.rpartition('.')[2]}-{value}")
    clean = [re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") for part in parts]
    text = "_".join(clean)[:SLUG].rstrip("-._")
    last = [] if seed is None else [f"seed-{seed}"]
    return "_".join([*([text] if text else []), *last])
