"""One HTML page with all parts of a report and what made each run; it needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from splitmix.reporting.comparison import Drawing, Part
from splitmix.reporting.escape import html
from splitmix.reporting.runs import Run
from splitmix.reporting.style import png
from splitmix.reporting.table import Table

CSS = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h1, h2 { line-height: 1.2; } h2 { border-bottom: 1px solid #ccc; padding-bottom: .2rem; margin-top: 2.5rem; }
.lead { font-size: 1.15rem; max-width: 50rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1.2rem 0; }
.part { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.5rem 2.5rem; }
figure { margin: 0; } .wide, .alone { grid-column: 1 / -1; }
.alone { width: min(100%, 34rem); margin: 0 auto; } figure img { width: 100%; height: auto; }
figcaption, ul { color: #444; font-size: .9rem; } ul { margin: .5rem 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
th { border-bottom: 2px solid #888; }
.word { text-align: left; white-space: normal; overflow-wrap: break-word; max-width: 18rem; }
.best { font-weight: 700; } .aside { color: #666; font-style: italic; }
details { margin: .4rem 0; } pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; } code { font-size: .9rem; }
@media (max-width: 64rem) { .part { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 40rem) { table { font-size: .85rem; } th, td { padding: .2rem .4rem; } .lead { font-size: 1rem; } }
"""
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
    sections = [(part.kind, part.title, part_html(part)) for part in parts]
    sections += [("notes", "Notes", bullets(notes))] if notes else []
    sections += [("skipped", "Not shown", bullets(skipped))] if skipped else []
    sections += [("runs", "Runs", "".join(map(run_html, runs)))]
    links = "\n".join(f'<a href="#{name}">{html(words)}</a>' for name, words, _ in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html(title)}</title><style>{CSS}</style></head><body>\n<h1>{html(title)}</h1>\n"
        + "".join(f'<p class="lead">{html(sentence)}</p>\n' for part in parts for sentence in part.lead)
        + f"<nav>\n{links}\n</nav>\n"
        + "".join(f'<h2 id="{name}">{html(words)}</h2>\n{content}' for name, words, content in sections)
        + "</body></html>\n"
    )


def part_html(part: Part) -> str:
    """A section: tables, then figures; two abreast where both fit into half a page."""
    narrow = [fits_half(table) for table in part.tables]
    halves = sum(narrow) + len(part.drawings)
    if halves % 2 and not part.drawings:
        narrow[narrow.index(True)] = False
    # Wide tables first, so that no half stays empty between them.
    tables = sorted(zip(narrow, part.tables, strict=True), key=lambda pair: pair[0])
    items = [table_html(table, "" if half else "wide") for half, table in tables]
    for number, drawing in enumerate(part.drawings, 1):
        items.append(figure_html(drawing, "alone" if halves % 2 and number == len(part.drawings) else ""))
    return f'<div class="part">\n{"".join(items)}</div>\n{bullets(part.notes)}'


def fits_half(table: Table) -> bool:
    """Whether a table fits into half a page without scrolling."""
    return sum(table.letters()) + COLUMN_GAP * len(table.header) <= HALF_PAGE


def table_html(table: Table, place: str) -> str:
    """A table below its caption, with its notes."""
    return (
        f'<figure class="{place}"><figcaption>{html(table.caption)}</figcaption>\n'
        f'<div class="scroll">{table.html()}</div>\n{bullets(table.notes)}</figure>\n'
    )


def figure_html(drawing: Drawing, place: str) -> str:
    """A figure above its caption."""
    caption = html(drawing.caption)
    return (
        f'<figure class="{place}"><img alt="{caption}" src="{data_uri(drawing.figure)}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def bullets(lines: Iterable[str]) -> str:
    """Lines as a list; nothing if there are none."""
    items = "".join(f"<li>{html(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def run_html(run: Run) -> str:
    """What made a run: command, config beside the defaults, versions."""
    results = run.results
    versions = ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items())
    facts = {
        "seed": run.seed,
        "started": results["started"],
        "seconds of training": f"{results.get('wall_s') or 0:.0f}",
        "best round": "" if results.get("best_round") is None else results["best_round"] + 1,
        "config hash": results.get("config_hash"),
        "git commit": results.get("git") or "unknown",
        "versions": versions,
    }
    differences = "\n".join(map(html, run.differences)) or "(none)"
    return (
        f"<details><summary>{html(run.label)}, seed {run.seed}: <code>{html(str(run.folder))}</code></summary>"
        f"{bullets(f'{name}: {value}' for name, value in facts.items())}"
        f"<p>Command:</p><pre>{html(run.command)}</pre>\n"
        f"<p>Config, beside the defaults of splitmix train:</p><pre>{differences}</pre></details>\n"
    )


def data_uri(figure: Figure) -> str:
    """A figure as an address that holds the picture itself."""
    file = io.BytesIO()
    png(figure, file)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
