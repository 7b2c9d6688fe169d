"""Joint customisation: robust against standard accuracy of one trained model, a curve over λ for each width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from splitmix.reporting.cells import missing_seeds
from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import Group, grouped
from splitmix.reporting.joint_figure import figure_of
from splitmix.reporting.kinds.tradeoff import point_record
from splitmix.reporting.robust import Attack, Point, attacks_of, image_notes, points, widths_of
from splitmix.reporting.runs import in_situ
from splitmix.reporting.table import Table


def make(comparison: Comparison) -> Part:
    """A table and a figure for each in-situ method and attack."""
    runs = [run for run in comparison.runs if in_situ(run)]
    tables: list[Table] = []
    drawings = []
    for group in grouped(runs):
        for name, attack in attacks_of(group.runs).items():
            widths = widths_of(group, attack)
            curves = {width: points(group, attack, width) for width in widths}
            if len(curves) > 1 and any(len(curve) > 1 for curve in curves.values()):
                stem = "joint" if not tables else f"joint_{len(tables) + 1}"
                tables.append(table_of(comparison, group, name, attack, curves, stem))
                text = (
                    f"RA under {name} against SA of {group.label} on {comparison.dataset}, one curve per width,"
                    " each from its least λ (hollow) on; small numbers: λ, on one of them; the second panel magnifies"
                    " where curves crowd, if they do; bars: standard deviation over seeds."
                )
                drawings.append(Drawing(stem, text, figure_of(curves, name)))
    if not tables:
        raise CannotShow("no run was tested at several λ and widths, both clean and under an attack")
    return Part("joint", "Width and robustness together", tables, drawings)


def table_of(
    comparison: Comparison,
    group: Group,
    name: str,
    attack: Attack,
    curves: Mapping[float, Sequence[Point]],
    stem: str,
) -> Table:
    """SA and RA by width and λ."""
    rows = [
        [f"×{width:g}", f"{point.adv_lambda:g}", str(point.sa), str(point.ra)]
        for width, curve in curves.items()
        for point in curve
    ]
    records = [point_record(group.label, width, point) for width, curve in curves.items() for point in curve]
    notes = missing_seeds(
        (f"×{width:g}", f"λ={p.adv_lambda:g}", p.ra) for width, curve in curves.items() for p in curve
    )
    caption = (
        f"{group.label} on {comparison.dataset}: SA and RA under {name} in % by width and λ at test, mean ± standard"
        " deviation over seeds."
    )
    header = ["width", "λ", "SA", "RA"]
    return Table(stem, caption, header, rows, records, words=2, notes=notes + image_notes([group], attack))
