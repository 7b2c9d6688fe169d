"""`splitmix show`: one run: its status, config beside the defaults, results, clients and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from splitmix.commands.application import run_application, settings_of
from splitmix.commands.trust import trusted_targets
from splitmix.printing import printable
from splitmix.runs.folders import RECORDS, find_run, read_config


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/show.yaml`."""

    run: str
    trust: tuple[str, ...]


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("show", argv, show)


def show(cfg: DictConfig) -> None:
    """Print what there is to know about the run that the config names."""
    keys = settings_of(cfg, Keys)
    folder = find_run("run", keys.run, RECORDS)
    config = read_config(folder)
    from splitmix.commands.differences import differences
    from splitmix.commands.run_files import current_results, load_run
    from splitmix.reporting.metric_tables import details
    from splitmix.reporting.summary import client_rows, facts, metric_rows, test_rows, width_rows
    from splitmix.reporting.tables import FIXED, METRICS_SAID, print_table, text_table

    run = load_run(folder, current_results(folder), trusted_targets(keys.trust))
    say(f"{folder}\n")
    for name, fact in facts(run).items():
        say(f"  {name:<14} {fact}")
    say(f"\nconfig, beside the defaults of splitmix train:\n{indented(differences(config)) or '  (none)'}")
    say(f"\nmade by:\n  {run.command}\n")
    if run.widths:
        caption = f"The final test: best checkpoint, clean images. MACs per image. {FIXED}"
        print_table(text_table(width_rows(run), caption))
    if rows := test_rows(run):
        caption = "All tests, accuracy in % (mean over clients): SA with attack none, RA under an attack."
        print_table(text_table(rows, caption))
    if rows := metric_rows(run):
        print_table(text_table(rows, METRICS_SAID, words=2))
    for detail in details(run.records):
        print_table(text_table(*detail))
    print_table(text_table(client_rows(run), "Clients by domain: images, and test SA in % within each one's budget."))
    for name in ("figures", "checkpoints"):
        say(f"{name}:\n{indented(str(path) for path in files_in(folder / name)) or '  (none)'}")


def say(text: str) -> None:
    """Print what may stem from a file."""
    print(printable(text))


def indented(lines: Any) -> str:
    """Lines, each two spaces in."""
    return "\n".join(f"  {line}" for line in lines)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder by name; none if it is not there."""
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
