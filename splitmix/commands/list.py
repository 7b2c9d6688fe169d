"""`splitmix list`: every config group with its options and a line on each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from splitmix.binding import nearest
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.composing import defaults_of
from splitmix.commands.experiments import jobs
from splitmix.commands.help import MARK, groups, header, option_folders
from splitmix.commands.layout import entry
from splitmix.errors import UserError


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/list.yaml`."""

    what: str


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("list", argv, show)


def show(cfg: DictConfig) -> None:
    """Print groups and options, defaults marked; of an experiment how many runs its grid has."""
    what, files_by_group = settings_of(cfg, Keys).what, groups(option_folders())
    names = list(files_by_group)
    if what not in ("all", *names):
        raise UserError(f"what={what}: no such group{nearest(what, names)}; choose all, {', '.join(names)}")
    standard = {**defaults_of("test"), **defaults_of("train")}
    # The experiments are many: alone only, else they would bury the other groups.
    for group, files in files_by_group.items():
        if what == "all" and group != "experiment":
            print(group)
            print_options(files, standard.get(group))
        elif what == group:
            print(group)
            print_options(files, standard.get(group), count=group == "experiment")
    if what == "all":
        print("experiment")
        print(f"  {len(files_by_group['experiment'])} ready-made grids: splitmix list what=experiment")
        print(f"\n{MARK} is the default.")


def print_options(files: list[Path], standard: object, count: bool = False) -> None:
    """One entry per option.

    Args:
        standard: the default option, or a list of them.
        count: also say how many runs an experiment makes.
    """
    width = max((len(file.stem) for file in files), default=0)
    chosen = standard if isinstance(standard, list) else [standard]
    for file in files:
        left = f"{MARK if file.stem in chosen else ' '} {file.stem:<{width}}"
        if count:
            number = jobs(file)
            left += f"  {number:>3} {'run ' if number == 1 else 'runs'}"
        print(entry(left, header(file), width + (16 if count else 4)))
