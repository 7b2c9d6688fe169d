"""`splitmix list`: every config group with its options and a line on each."""

from __future__ import annotations

from omegaconf import DictConfig

from splitmix.binding import nearest
from splitmix.commands.application import run_application, values_of
from splitmix.commands.experiments import jobs
from splitmix.commands.help import groups, header
from splitmix.errors import UserError


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("list", argv, show)


def show(cfg: DictConfig) -> None:
    """Print groups and options; of an experiment also how many runs its grid has."""
    what = values_of(cfg, ("what",))["what"]
    found = groups()
    if what != "all" and what not in found:
        raise UserError(f"what={what}: no such group{nearest(str(what), found)}; choose all, {', '.join(found)}")
    for group, files in found.items():
        if what not in ("all", group):
            continue
        print(group)
        width = max((len(file.stem) for file in files), default=0)
        for file in files:
            runs = ""
            if group == "experiment":
                number = jobs(file)
                runs = f"{number:>3} {'run ' if number == 1 else 'runs'}  "
            print(f"  {file.stem:<{width}}  {runs}{header(file)}")
