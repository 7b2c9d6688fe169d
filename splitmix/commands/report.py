"""`splitmix report`: tables over many runs, from their results alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from splitmix.binding import convert
from splitmix.commands.application import log, run_application, values_of
from splitmix.errors import UserError

KEYS = ("runs", "report", "out")
REPORTS = ("table1",)


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("report", argv, report)


def report(cfg: DictConfig) -> None:
    """Print, and write, what the config asks for."""
    values = values_of(cfg, KEYS)
    if values["report"] not in REPORTS:
        raise UserError(f"report={values['report']}: no such report; choose {', '.join(REPORTS)}")
    from splitmix.files import write_atomically
    from splitmix.reporting.aggregate import width_accuracies
    from splitmix.reporting.tables import print_table, text_table

    finished = []
    for folder, results in read_runs(convert(values["runs"], tuple[str, ...], "runs")):
        if results["status"] == "finished" and results["widths"]:
            finished.append(results)
        else:
            log.info(f"left out: {folder} ({results['status']})")
    if not finished:
        raise UserError(f"runs={values['runs']}: none of these runs is finished")
    table = width_accuracies(finished)
    caption = f"Test SA in % on {table.dataset} by width, mean ± standard deviation over seeds ({len(finished)} runs)."
    print_table(text_table(table.rows(), caption))
    for words in table.missing():
        log.info(words)
    if values["out"] is not None:
        out = Path(str(values["out"]))
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"out={out}: cannot write there ({error.strerror}); choose another folder") from error
        write_atomically(out / "table1.csv", lambda file: file.write(table.csv().encode()))
        write_atomically(out / "table1.md", lambda file: file.write(table.markdown().encode()))
        log.info(f"written to {out / 'table1.csv'} and {out / 'table1.md'}")


def read_runs(patterns: tuple[str, ...]) -> list[tuple[Path, dict[str, Any]]]:
    """All runs in and below the folders that these patterns match, each once.

    Raises:
        UserError: a pattern that matches no run, a results file of another schema or damaged.
    """
    from splitmix.federation.results import read_results

    found: dict[Path, dict[str, Any]] = {}
    for pattern in patterns:
        root, relative = (Path("/"), pattern.lstrip("/")) if pattern.startswith("/") else (Path(), pattern)
        try:
            matches = [Path(pattern)] if Path(pattern).is_dir() else sorted(root.glob(relative))
        except (ValueError, NotImplementedError) as error:
            raise UserError(f"runs={pattern}: no valid pattern ({error})") from None
        files = {file for match in matches for file in [match / "results.json", *match.glob("**/results.json")]}
        files = {file for file in files if file.is_file()}
        if not files:
            raise UserError(f"runs={pattern}: matches no run; give run folders, folders of runs, or patterns")
        for file in sorted(files):
            found[file.parent] = read_results(file)
    return list(found.items())
