"""Robust against standard accuracy: one curve per method at one width, its points labelled with λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from splitmix.reporting.cells import missing_seeds
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.escape import stem
from splitmix.reporting.robust import (
    Attack,
    Point,
    attacks_of,
    curves_of,
    draw_curves,
    image_notes,
    name_lambdas,
    points,
    widths_of,
)
from splitmix.reporting.style import legend_above, new_figure, styled
from splitmix.reporting.table import Table

MOST_TOLD = 3


def make(comparison: Comparison) -> Part:
    """A table and a figure for each attack in the test records."""
    attacks = attacks_of(comparison.runs)
    if not attacks:
        raise CannotShow("no run was tested under an attack: splitmix test run=<folder> 'attack=[none,linf_pgd]'")
    tables: list[Table] = []
    drawings, reasons, lead = [], [], []
    for number, (name, attack) in enumerate(attacks.items(), 1):
        try:
            file_stem = stem(f"tradeoff_{name.partition(' (')[0]}")
            if " (" in name or file_stem in [table.name for table in tables]:
                file_stem = f"{file_stem}_{number}"
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
    widths = {group.label: widths_of(group, attack) for group in groups}
    if not groups:
        raise CannotShow("no model has both a clean and an attacked test")
    width = comparison.one_width(widths[group.label] for group in groups)
    groups = [group for group in groups if width in widths[group.label]]
    curves = {group.label: points(group, attack, width) for group in groups}
    rows, records = [], []
    for label, curve in curves.items():
        for point in curve:
            rows.append([label, f"{point.adv_lambda:g}", str(point.sa), str(point.ra)])
            records.append(point_record(label, width, point))
    notes = missing_seeds((label, f"λ={p.adv_lambda:g}", p.ra) for label, curve in curves.items() for p in curve)
    notes += image_notes(groups, attack)
    caption = (
        f"SA and RA under {name} in % on {comparison.dataset} at ×{width:g}, mean ± standard deviation over seeds. λ:"
        " of the test where one model gives several, else of the training."
    )
    table = Table(file_stem, caption, ["method", "λ", "SA", "RA"], rows, records, words=2, notes=notes)
    text = (
        f"RA under {name} against SA on {comparison.dataset} at ×{width:g}; numbers: λ; bars: standard deviation over"
        " seeds."
    )
    return table, Drawing(file_stem, text, figure_of(comparison, curves, name)), most_robust(curves, name, width)


def most_robust(curves: Mapping[str, Sequence[Point]], attack: str, width: float) -> str:
    """The highest RA of each method, in a sentence."""
    tops = {label: max(curve, key=lambda point: point.ra.mean) for label, curve in curves.items()}
    order = sorted(tops, key=lambda label: -tops[label].ra.mean)
    numbers = [
        f"{label} at λ = {tops[label].adv_lambda:g} (RA {tops[label].ra.percent} %, SA {tops[label].sa.percent} %)"
        for label in order[:MOST_TOLD]
    ]
    rest = f"; {len(order) - MOST_TOLD} more in the table" if len(order) > MOST_TOLD else ""
    return f"The highest RA under {attack} at ×{width:g}: {', then '.join(numbers)}{rest}."


def point_record(label: str, width: float, point: Point) -> dict[str, Any]:
    """A line of the CSV file."""
    sa, ra = (
        {f"{name}_mean": cell.mean, f"{name}_std": cell.std} for name, cell in (("sa", point.sa), ("ra", point.ra))
    )
    seeds = point.ra.record()["seeds"]
    return {"method": label, "width": width, "adv_lambda": point.adv_lambda, **sa, **ra, "seeds": seeds}


@styled
def figure_of(comparison: Comparison, curves: Mapping[str, Sequence[Point]], attack: str) -> Figure:
    """One curve per method."""
    figure = new_figure(2.3)
    axes = figure.add_subplot()
    looks = [comparison.palette[label] for label in curves]
    draw_curves(axes, curves, looks)
    axes.set_ylabel(f"RA under {attack} (%)")
    legend_above(figure, axes)
    name_lambdas(figure, axes, curves, looks)
    return figure
