"""Robust against standard accuracy: a curve over λ for each method at one width, or for each width of one method."""

from __future__ import annotations

import pandas as pd

from splitmix.reporting.attacked import Attack, attacks_of, curves_of, pair_notes, points
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.escape import stem
from splitmix.reporting.groups import grouped
from splitmix.reporting.report_table import Table, width_names
from splitmix.reporting.seeds import INTERVALS, missing_seeds
from splitmix.reporting.tradeoff import figure_of_methods, figure_of_widths
from splitmix.runs.run import in_situ

MOST_NAMED = 3
"""Methods that stand in the sentence that opens the page."""


def tradeoff(comparison: Comparison) -> Part:
    """A table and a figure for each attack in the test records."""
    attacks = attacks_of(comparison.runs)
    if not attacks:
        raise CannotShow("no run was tested under an attack: splitmix test run=<folder> 'attack=[none,linf_pgd]'")
    tables: list[Table] = []
    drawings, reasons, lead = [], [], []
    for number, (name, attack) in enumerate(attacks.items(), 1):
        file_stem = stem(f"tradeoff_{name.partition(' (')[0]}")
        if " (" in name or file_stem in [table.name for table in tables]:
            file_stem = f"{file_stem}_{number}"
        try:
            table, drawing, sentence = one_attack(comparison, name, attack, file_stem)
        except CannotShow as reason:
            reasons.append(f"{name}: {reason}")
        else:
            tables.append(table)
            drawings.append(drawing)
            lead.append(sentence)
    if not tables:
        raise CannotShow("; ".join(reasons))
    return Part("tradeoff", "Robust against standard accuracy", tables, drawings, reasons, lead)


def one_attack(comparison: Comparison, name: str, attack: Attack, file_stem: str) -> tuple[Table, Drawing, str]:
    """Table, figure and result of one attack; CannotShow if no model has both accuracies, or none at the width."""
    groups = curves_of(comparison.runs, attack)
    if not groups:
        raise CannotShow("no model has both a clean and an attacked test")
    cells = points(groups, attack)
    width = comparison.one_width(part for _, part in cells.groupby("method", observed=True)["width"])
    cells = cells[cells["width"] == width]
    notes = pair_notes([group for group in groups if (cells["method"] == group.label).any()], attack)
    caption = (
        f"SA and RA under {name} in % on {comparison.dataset} at ×{width:g}, mean ± standard deviation over seeds. λ:"
        " of the test where one model gives several, else of the training."
    )
    table = table_of(file_stem, caption, cells, "method", list(cells["method"]), notes)
    text = (
        f"RA under {name} against SA on {comparison.dataset} at ×{width:g}; numbers: λ; bars: standard deviation over"
        " seeds."
    )
    figure = figure_of_methods(cells, name, comparison.palette)
    return table, Drawing(file_stem, text, figure), most_robust(cells, name, width)


def table_of(name: str, caption: str, cells: pd.DataFrame, first: str, words: list[str], notes: list[str]) -> Table:
    """SA and RA by λ and what the first column says."""
    rows = [
        [word, f"{cell.adv_lambda:g}", cell.sa_text, cell.ra_text]
        for word, cell in zip(words, cells.itertuples(), strict=True)
    ]
    numbers = cells[["method", "width", "adv_lambda", "sa_mean", "sa_std", "ra_mean", "ra_std", "seeds"]]
    ends = cells[["sa_low", "sa_high", "ra_low", "ra_high"]]
    if ends.notna().any(axis=None):
        numbers, notes = numbers.join(ends), [*notes, INTERVALS]
    missing = missing_seeds(cells, words, (f"λ={adv_lambda:g}" for adv_lambda in cells["adv_lambda"]))
    return Table(name, caption, [first, "λ", "SA", "RA"], rows, numbers, words=2, notes=missing + notes)


def most_robust(cells: pd.DataFrame, attack: str, width: float) -> str:
    """The highest RA of each method, in a sentence."""
    tops = cells.loc[cells.groupby("method", observed=True)["ra_mean"].idxmax()]
    tops = tops.sort_values("ra_mean", ascending=False, kind="stable")
    numbers = [
        f"{top.method} at λ = {top.adv_lambda:g} (RA {top.ra_percent} %, SA {top.sa_percent} %)"
        for top in tops.head(MOST_NAMED).itertuples()
    ]
    rest = f"; {len(tops) - MOST_NAMED} more in the table" if len(tops) > MOST_NAMED else ""
    return f"The highest RA under {attack} at ×{width:g}: {', then '.join(numbers)}{rest}."


def joint(comparison: Comparison) -> Part:
    """A table and a figure for each in-situ method and attack, by width."""
    tables: list[Table] = []
    drawings = []
    for group in grouped([run for run in comparison.runs if in_situ(run)]):
        for name, attack in attacks_of(group.runs).items():
            cells = points([group], attack)
            sizes = cells.groupby("width").size()
            if len(sizes) < 2 or sizes.max() < 2:
                continue
            file_stem = "joint" if not tables else f"joint_{len(tables) + 1}"
            caption = (
                f"{group.label} on {comparison.dataset}: SA and RA under {name} in % by width and λ at test, mean ±"
                " standard deviation over seeds."
            )
            notes = pair_notes([group], attack)
            tables.append(table_of(file_stem, caption, cells, "width", width_names(cells["width"]), notes))
            text = (
                f"RA under {name} against SA of {group.label} on {comparison.dataset}, one curve per width, each from"
                " its least λ (hollow) on; small numbers: λ, on one of them; the second panel magnifies where curves"
                " crowd, if they do; bars: standard deviation over seeds."
            )
            drawings.append(Drawing(file_stem, text, figure_of_widths(cells, name)))
    if not tables:
        raise CannotShow("no run was tested at several λ and widths, both clean and under an attack")
    return Part("joint", "Width and robustness together", tables, drawings)
