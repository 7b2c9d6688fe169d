"""One HTML page with all parts of a report and what made each run; it needs no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from splitmix.reporting.comparison import Part
from splitmix.reporting.runs import Run
from splitmix.reporting.style import png

CSS = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { border-bottom: 1px solid #ccc; padding-bottom: .2rem; margin-top: 2.5rem; }
nav a { margin-right: 1rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0 .3rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; color: #444; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { border-bottom: 2px solid #888; } .word { text-align: left; }
.best { font-weight: 700; } .aside { color: #777; font-style: italic; }
figure { display: inline-block; width: 26rem; max-width: 100%; margin: 1rem 1rem 1rem 0; vertical-align: top; }
figure img { width: 100%; } figcaption, ul { color: #444; font-size: .9rem; }
details { margin: .4rem 0; } pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; } code { font-size: .9rem; }
"""


def page(title: str, parts: Sequence[Part], runs: Sequence[Run], notes: Sequence[str]) -> str:
    """The page.

    Args:
        notes: what was left out or must be known, one line each.
    """
    links = "".join(f'<a href="#{part.kind}">{html.escape(part.title)}</a>' for part in parts)
    told = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{CSS}</style></head><body>\n<h1>{html.escape(title)}</h1>\n"
        f'<nav>{links}<a href="#runs">Runs</a></nav>\n'
        + (f"<ul>{told}</ul>\n" if told else "")
        + "".join(map(part_html, parts))
        + f'<h2 id="runs">Runs</h2>\n{"".join(map(run_html, runs))}</body></html>\n'
    )


def part_html(part: Part) -> str:
    """A section: tables, then figures."""
    tables = "".join(f'<div class="scroll">{table.html()}</div>\n' for table in part.tables)
    figures = "".join(
        f'<figure><img alt="{html.escape(drawing.caption)}" src="{data_uri(drawing.figure)}">'
        f"<figcaption>{html.escape(drawing.caption)}</figcaption></figure>\n"
        for drawing in part.drawings
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in part.notes)
    told = f"<ul>{notes}</ul>\n" if notes else ""
    return f'<h2 id="{part.kind}">{html.escape(part.title)}</h2>\n{tables}{told}{figures}'


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
    told = "".join(f"<li>{html.escape(name)}: {html.escape(str(value))}</li>" for name, value in facts.items())
    differences = "\n".join(run.differences) or "(none)"
    return (
        f"<details><summary>{html.escape(run.label)}, seed {run.seed}: <code>{html.escape(str(run.folder))}</code>"
        f"</summary><ul>{told}</ul>\n<p>Command:</p><pre>{html.escape(run.command)}</pre>\n"
        f"<p>Config, beside the defaults of splitmix train:</p><pre>{html.escape(differences)}</pre></details>\n"
    )


def data_uri(figure: Figure) -> str:
    """A figure as an address that holds the picture itself."""
    file = io.BytesIO()
    png(figure, file)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
