"""`splitmix report`: tables and figures over many runs, from their results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from splitmix.binding import Trusted, nearest, shown
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.commands.trust import trusted_targets
from splitmix.errors import NotTrusted, UserError

if TYPE_CHECKING:
    from splitmix.reporting.comparison import Comparison, Part
    from splitmix.runs.run import Run


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/report.yaml`."""

    runs: tuple[str, ...]
    report: str
    width: float | None
    out: str | None
    trust: tuple[str, ...]


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("report", argv, report)


def report(cfg: DictConfig) -> None:
    """Print, and write, what the config asks for."""
    keys = settings_of(cfg, Keys)
    from splitmix.reporting.kinds import KINDS, make, make_all

    kind, kinds = keys.report, [*KINDS, "all"]
    if kind not in kinds:
        raise UserError(f"report={kind}: no such report{nearest(kind, kinds)}; choose {', '.join(kinds)}")
    if keys.width is not None and not 0 < keys.width <= 1:
        raise UserError(f"width={shown(keys.width)}: give a width above 0 and up to 1, or null")
    runs, notes = finished_runs(keys.runs, trusted_targets(keys.trust))
    for note in notes:
        log.info(note)
    from splitmix.reporting.comparison import CannotShow
    from splitmix.reporting.groups import grouped, unequal_settings
    from splitmix.reporting.tables import print_table

    comparison = comparison_of(runs, keys.width)
    if kind == "all":
        parts, skipped = make_all(comparison)
    else:
        try:
            parts, skipped = [make(kind, comparison)], []
        except CannotShow as reason:
            raise UserError(f"report={kind}: {reason}") from reason
    for part in parts:
        for sentence in part.lead:
            log.info(sentence)
        for table in part.tables:
            print_table(table.text())
            for note in table.notes:
                log.info(f"note: {note}")
        for note in part.notes:
            log.info(f"note: {note}")
    unequal = unequal_settings(grouped(runs))
    for line in [*unequal, *skipped]:
        log.info(line)
    if keys.out is not None:
        write_report(Path(keys.out), parts, runs, [*unequal, *notes], skipped, comparison.dataset)
    elif any(part.drawings for part in parts):
        log.info("figures are not drawn with out=null; give a folder")


def finished_runs(patterns: tuple[str, ...], trusted: Trusted) -> tuple[list[Run], list[str]]:
    """The runs that count, and in words which ones do not.

    Raises:
        UserError: no run is finished, a file is damaged, every run names code that is not trusted.
    """
    from splitmix.commands.run_files import load_run, results_of
    from splitmix.runs.run import latest_of_equal, of_one_dataset

    runs, notes = [], []
    foreign: dict[Path, UserError] = {}
    code: set[str] = set()
    for folder, results in results_of(patterns):
        if results["status"] == "finished" and results["widths"]:
            try:
                runs.append(load_run(folder, results, trusted))
            except UserError as error:
                if not isinstance(error.__cause__, NotTrusted):
                    raise
                foreign[folder] = error
                code.add(error.__cause__.code)
        else:
            status = results["status"]
            notes.append(f"left out: {folder} ({'not tested yet' if status == 'finished' else status})")
    if foreign and not runs:
        raise next(iter(foreign.values()))
    if foreign:
        folders = ", ".join(map(str, foreign))
        notes.append(f"left out: {folders} (name code of your own; trust=[{','.join(sorted(code))}] takes them in)")
    if not runs:
        reasons = f" ({'; '.join(notes)})" if notes else ""
        raise UserError(f"runs={','.join(patterns)}: none of these runs is finished{reasons}; finish one first")
    kept, repeated = latest_of_equal(runs)
    kept, other = of_one_dataset(kept)
    return kept, notes + repeated + other


def comparison_of(runs: Sequence[Run], width: float | None) -> Comparison:
    """The runs with what a training step costs their clients, counted when it is asked for.

    Raises:
        UserError: runs on other domains under the same name of a dataset.
    """
    from splitmix.reporting.comparison import Comparison
    from splitmix.runs.run import check_same_domains
    from splitmix.widths import normalized

    if width is not None:
        width = normalized(width, [known for run in runs for known in run.widths])

    def macs(run: Run) -> Mapping[float, float]:
        from splitmix.evaluation.training_costs import training_macs

        return training_macs(run.config, run.budgets)

    def memory(run: Run) -> Mapping[float, float]:
        from splitmix.evaluation.training_costs import training_memory

        return training_memory(run.config, run.budgets)

    return Comparison(check_same_domains(runs), runs, width, once_by_method(macs), once_by_method(memory))


def once_by_method(count: Callable[[Run], Mapping[float, float]]) -> Callable[[Run], Mapping[float, float]]:
    """The same count, made once for all runs that differ in nothing that it depends on."""
    counted: dict[str, Mapping[float, float]] = {}

    def counts(run: Run) -> Mapping[float, float]:
        if run.identity not in counted:
            counted[run.identity] = count(run)
        return counted[run.identity]

    return counts


def write_report(
    out: Path, parts: Sequence[Part], runs: Sequence[Run], notes: Sequence[str], skipped: Sequence[str], dataset: str
) -> None:
    """Write tables, figures and the page into the folder (UserError if it cannot be written)."""
    from splitmix.files import write_atomically
    from splitmix.reporting.page import page
    from splitmix.reporting.style import save

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: cannot write there ({error.strerror}); choose another folder") from error

    def write(name: str, text: str) -> None:
        write_atomically(out / name, lambda file: file.write(text.encode(errors="replace")))

    for part in parts:
        for table in part.tables:
            write(f"{table.name}.csv", table.csv())
            write(f"{table.name}.md", table.markdown())
            write(f"{table.name}.tex", table.latex())
        for drawing in part.drawings:
            for ending in ("png", "pdf"):
                save(drawing.figure, out / f"{drawing.name}.{ending}", ending)
    write("report.html", page(f"Split-Mix federated learning on {dataset}", parts, runs, notes, skipped))
    tables, drawings = (sum(len(getattr(part, what)) for part in parts) for what in ("tables", "drawings"))
    log.info(f"written to {out}: {tables} tables (CSV, Markdown, LaTeX), {drawings} figures (PNG, PDF), report.html")
