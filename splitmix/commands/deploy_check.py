"""`splitmix deploy-check`: on a node or the server of a fleet: what is well, and what to mend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from splitmix.commands.application import run_application, settings_of
from splitmix.errors import UserError
from splitmix.printing import printable


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/deploy-check.yaml`."""

    folder: str
    seconds: float


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("deploy-check", argv, check)


def check(cfg: DictConfig) -> None:
    """Print a line for each check (UserError: some failed)."""
    keys = settings_of(cfg, Keys)
    if not 0 < keys.seconds <= 600:
        raise UserError(f"seconds={keys.seconds:g}: give seconds above 0, up to 600")
    try:
        from splitmix.deploy.health_parts import checks_of
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'splitmix[flower]'") from error
    results = checks_of(Path(keys.folder), keys.seconds)
    width = max(len(result.what) for result in results)
    for result in results:
        print(printable(f"{'ok    ' if result.ok else 'failed'}  {result.what:<{width}}  {result.text}"))
    if failed := [result.what for result in results if not result.ok]:
        raise UserError(f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}")
