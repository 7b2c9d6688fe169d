"""One HTML page with all parts of a report and what made each run; it needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from splitmix.reporting.comparison import Drawing, Part
from splitmix.reporting.rendering import render
from splitmix.reporting.report_table import Table
from splitmix.reporting.style import styled
from splitmix.runs.run import Run

HALF_PAGE = 72
"""Letters of a table, with COLUMN_GAP for each column, that fit into half a page."""
COLUMN_GAP = 3


def page(
    title: str, parts: Sequence[Part], runs: Sequence[Run], notes: Sequence[str] = (), skipped: Sequence[str] = ()
) -> str:
    """The page: the result in a sentence, the parts, and at the end what must be known, is not shown, and the runs.

    Args:
        notes: which runs were left out, in what the methods differ; one line each.
        skipped: what these runs cannot show, and why.
    """
    functions = {f.__name__: f for f in (placed_tables, placed_drawings, data_uri, facts)}
    return render("page.html", title=title, parts=parts, runs=runs, notes=notes, skipped=skipped, **functions)


def fits_half(table: Table) -> bool:
    """Whether a table fits into half a page without scrolling."""
    return sum(table.letters()) + COLUMN_GAP * len(table.header) <= HALF_PAGE


def placed_tables(part: Part) -> list[tuple[str, Table]]:
    """Tables with their place on the page: `wide`, or nothing for a half of it."""
    narrow = [fits_half(table) for table in part.tables]
    if sum(narrow) % 2 and not part.drawings:
        narrow[narrow.index(True)] = False
    # Wide tables first, so that no half stays empty between them.
    return sorted(
        zip(["" if half else "wide" for half in narrow], part.tables, strict=True), key=lambda pair: not pair[0]
    )


def placed_drawings(part: Part) -> list[tuple[str, Drawing]]:
    """Figures after the tables, in halves of the page; one that has no neighbour is `alone`."""
    odd = (sum(not place for place, _ in placed_tables(part)) + len(part.drawings)) % 2
    last = len(part.drawings) - 1
    return [("alone" if odd and number == last else "", drawing) for number, drawing in enumerate(part.drawings)]


def facts(run: Run) -> list[str]:
    """What to know of a run beside its command and config."""
    results = run.results
    versions = ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items())
    named = {
        "seed": run.seed,
        "started": results["started"],
        "seconds of training": f"{results.get('wall_s') or 0:.0f}",
        "best round": "" if results.get("best_round") is None else results["best_round"] + 1,
        "config hash": results.get("config_hash"),
        "git commit": results.get("git") or "unknown",
        "versions": versions,
    }
    return [f"{name}: {value}" for name, value in named.items()]


@styled
def data_uri(figure: Figure) -> str:
    """A figure as an address that holds the picture itself."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
